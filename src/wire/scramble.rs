//! What proves a password without sending it, and what hides one that must be sent.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods_native_password_authentication.html>
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html>

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Why a password could not be sent or received under RSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RsaError {
    #[error("the RSA key pair could not be made")]
    Generate,
    #[error("the server's public key is not a PEM public key")]
    PublicKey,
    #[error("the password does not fit the server's RSA key")]
    Encrypt,
    #[error("the encrypted password does not fit Weir's RSA key")]
    Decrypt,
}

/// mysql_native_password: `SHA1(password) ^ SHA1(salt + SHA1(SHA1(password)))`, 20 bytes; nothing
/// for the empty password.
#[must_use]
pub fn native(password: &[u8], salt: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let stage_1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, password);
    let stage_2 = digest(&SHA1_FOR_LEGACY_USE_ONLY, stage_1.as_ref());
    let mut salted = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    salted.update(salt);
    salted.update(stage_2.as_ref());
    xor(stage_1.as_ref(), salted.finish().as_ref())
}

/// Whether `response` is the [`native`] scramble of that password and salt, in constant time.
#[must_use]
pub fn native_verify(password: &[u8], salt: &[u8], response: &[u8]) -> bool {
    verify_slices_are_equal(&native(password, salt), response).is_ok()
}

/// caching_sha2_password: `SHA256(password) ^ SHA256(SHA256(SHA256(password)) + salt)`, 32 bytes;
/// nothing for the empty password.
#[must_use]
pub fn sha2(password: &[u8], salt: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let stage_1 = sha2_stage1(password);
    let stage_2 = digest(&SHA256, &stage_1);
    let mut salted = Context::new(&SHA256);
    salted.update(stage_2.as_ref());
    salted.update(salt);
    xor(&stage_1, salted.finish().as_ref())
}

/// `SHA256(password)`: enough to make a [`sha2`] scramble, so as secret as the password.
#[must_use]
pub fn sha2_stage1(password: &[u8]) -> [u8; 32] {
    let mut stage_1 = [0; 32];
    for (to, from) in stage_1.iter_mut().zip(digest(&SHA256, password).as_ref()) {
        *to = *from;
    }
    stage_1
}

/// Whether `response` is the [`sha2`] scramble of that password and salt, in constant time.
/// For the empty password clients send nothing or a single NUL.
#[must_use]
pub fn sha2_verify(password: &[u8], salt: &[u8], response: &[u8]) -> bool {
    let response = if response == [0] { &[] } else { response };
    verify_slices_are_equal(&sha2(password, salt), response).is_ok()
}

/// Each byte XORed with the salt, which is repeated as often as needed: done to a password with
/// its NUL before RSA, and undone after it. With an empty salt the bytes stay as they are.
#[must_use]
pub fn xor_with_salt(password_with_nul: &[u8], salt: &[u8]) -> Vec<u8> {
    let repeated = salt.iter().chain(std::iter::repeat_n(&0, usize::from(salt.is_empty())));
    password_with_nul.iter().zip(repeated.cycle()).map(|(a, b)| a ^ b).collect()
}

/// The RSA key with which clients on plain connections send their password.
pub struct LoginKey {
    private: OaepPrivateDecryptingKey,
    public_pem: Vec<u8>,
}

impl LoginKey {
    /// Makes a key of 2048 bits; takes some tenths of a second.
    pub fn generate() -> Result<Self, RsaError> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048)
            .map_err(|_unspecified| RsaError::Generate)?;
        let der = key.public_key().as_der().map_err(|_unspecified| RsaError::Generate)?;
        let public_pem = to_pem(der.as_ref());
        let private =
            OaepPrivateDecryptingKey::new(key).map_err(|_unspecified| RsaError::Generate)?;
        Ok(Self { private, public_pem })
    }

    /// The public half, as the server sends it in [`AuthMoreData`](crate::wire::AuthMoreData).
    #[must_use]
    pub fn public_pem(&self) -> &[u8] {
        &self.public_pem
    }

    /// The password that a client encrypted, without its NUL; `salt` is the one that it was given.
    ///
    /// # Errors
    /// [`RsaError::Decrypt`] for bytes that were not encrypted with this key, or with no NUL.
    pub fn decrypt(&self, encrypted: &[u8], salt: &[u8]) -> Result<Vec<u8>, RsaError> {
        let mut room = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let masked = self
            .private
            .decrypt(&OAEP_SHA1_MGF1SHA1, encrypted, &mut room, None)
            .map_err(|_unspecified| RsaError::Decrypt)?;
        let mut password = xor_with_salt(masked, salt);
        match password.pop() {
            Some(0) => Ok(password),
            _ => Err(RsaError::Decrypt),
        }
    }
}

impl std::fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginKey(..)")
    }
}

/// The password with its NUL, XORed with the salt and encrypted with the server's public key.
///
/// # Errors
/// When `pem` is not a public key, or the password is too long for it (213 bytes at 2048 bits).
pub fn encrypt_password(pem: &[u8], password: &[u8], salt: &[u8]) -> Result<Vec<u8>, RsaError> {
    let der = from_pem(pem).ok_or(RsaError::PublicKey)?;
    let key = PublicEncryptingKey::from_der(&der).map_err(|_unspecified| RsaError::PublicKey)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_unspecified| RsaError::PublicKey)?;
    let mut with_nul = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    with_nul.extend_from_slice(password);
    with_nul.push(0);
    let masked = Zeroizing::new(xor_with_salt(&with_nul, salt));
    let mut room = vec![0; key.ciphertext_size()];
    let encrypted = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, &masked, &mut room, None)
        .map_err(|_unspecified| RsaError::Encrypt)?;
    Ok(encrypted.to_vec())
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";
/// Characters of base64 a line, RFC 7468.
const PEM_LINE: usize = 64;

fn to_pem(der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let mut pem = format!("{PEM_BEGIN}\n").into_bytes();
    for line in text.as_bytes().chunks(PEM_LINE) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(PEM_END.as_bytes());
    pem.push(b'\n');
    pem
}

fn from_pem(pem: &[u8]) -> Option<Vec<u8>> {
    let (_, body) = std::str::from_utf8(pem).ok()?.split_once(PEM_BEGIN)?;
    let (body, _) = body.split_once(PEM_END)?;
    let compact: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(compact).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &[u8; 20] = b"abcdefghijklmnopqrst";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    // The expected values were computed from the formulas with Python's hashlib.
    #[test]
    fn known_values() {
        assert_eq!(hex(&native(b"secret", SALT)), "8817c50fa779daef010ee7577825b0847df9842e");
        assert_eq!(
            hex(&sha2(b"secret", SALT)),
            "c76e2898612a4cf042c77fa8c4702c4c64c0c2c557c53c4d75595aaa6abae809"
        );
        assert_eq!(
            hex(&sha2_stage1(b"secret")),
            "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
        );
    }

    #[test]
    fn verify() {
        for password in [&b"secret"[..], b"", b"\xFF\x00x"] {
            assert!(native_verify(password, SALT, &native(password, SALT)));
            assert!(sha2_verify(password, SALT, &sha2(password, SALT)));
            assert!(!native_verify(password, SALT, &native(b"other", SALT)));
            assert!(!sha2_verify(password, SALT, &sha2(b"other", SALT)));
        }
        assert!(!native_verify(b"secret", SALT, &[]));
        assert!(!sha2_verify(b"secret", SALT, &[]));
        assert!(!sha2_verify(b"secret", SALT, &[0]));
        assert!(sha2_verify(b"", SALT, &[0]), "clients send a NUL for no password");
    }

    #[test]
    fn xor_repeats_the_salt() {
        assert_eq!(xor_with_salt(&[1, 2, 3], &[1, 2]), [0, 0, 2]);
        assert_eq!(xor_with_salt(&[1, 2, 3], &[]), [1, 2, 3]);
        assert_eq!(xor_with_salt(&[], &[1]), Vec::<u8>::new());
    }

    #[test]
    fn rsa() {
        let key = LoginKey::generate().unwrap();
        assert!(key.public_pem().starts_with(b"-----BEGIN PUBLIC KEY-----\nMIIB"));
        for password in [&b"secret"[..], b"", &[b'x'; 213]] {
            let sent = encrypt_password(key.public_pem(), password, SALT).unwrap();
            assert_eq!(sent.len(), 256);
            assert_eq!(key.decrypt(&sent, SALT).unwrap(), password);
        }
        let sent = encrypt_password(key.public_pem(), b"secret", SALT).unwrap();
        assert_eq!(key.decrypt(&sent, b"another salt, 20 b.."), Err(RsaError::Decrypt));
        assert_eq!(key.decrypt(b"garbage", SALT), Err(RsaError::Decrypt));
        assert_eq!(key.decrypt(&[], SALT), Err(RsaError::Decrypt));
        let too_long = encrypt_password(key.public_pem(), &[b'x'; 214], SALT);
        assert_eq!(too_long, Err(RsaError::Encrypt));
        for pem in
            [&b""[..], b"\xFF", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
        {
            assert_eq!(encrypt_password(pem, b"x", SALT), Err(RsaError::PublicKey));
        }
    }
}

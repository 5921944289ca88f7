//! The shape that capability bits and status bits share.

/// Defines a newtype over an unsigned integer whose bits have names. Bits without a name are kept.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident($word:ty) { $($(#[$bit_doc:meta])* $bit:ident = $at:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(pub $word);

        impl $name {
            $($(#[$bit_doc])* pub const $bit: Self = Self(1 << $at);)*
            /// No bit.
            pub const NONE: Self = Self(0);

            /// Whether all of `other` is set.
            #[must_use]
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The bits of both.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The bits of `self` that are not in `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The bits that both have.
            #[must_use]
            pub const fn and(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }

        impl std::ops::BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                self.with(other)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut unnamed = self.0;
                let mut set = f.debug_set();
                $(if self.has(Self::$bit) {
                    set.entry(&format_args!(stringify!($bit)));
                    unnamed &= !Self::$bit.0;
                })*
                if unnamed != 0 {
                    set.entry(&format_args!("{unnamed:#x}"));
                }
                set.finish()
            }
        }
    };
}

pub(crate) use flags;

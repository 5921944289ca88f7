//! `proxy.toml`: text -> spanned table -> [`Config`], with every error at once, each with its line.
//!
//! | file | |
//! |---|---|
//! | `types` | what comes out: valid, typed, with defaults filled in |
//! | `read` | the file as a whole: which sections there are, and what must hold between them |
//! | `proxy`, `servers`, `cluster`, `admin`, `leadership` | one section each, or a part of it: keys, ranges, defaults |
//! | `options`, `option_file` | options for mysqld: which of them a cluster cannot stand |
//! | `section` | the typed reader of one section; knows its keys, collects errors |
//! | `group` | `replication` under `[cluster]`, and what does not go with a group |
//! | `password`, `address`, `files` | values with rules of their own |
//! | `secrets` | where passwords stand, so that no error shows one |
//! | `nearest` | which key a typo means |
//! | `errors` | the errors and how they are shown |

use std::path::Path;

mod address;
mod admin;
mod cluster;
mod errors;
mod files;
mod group;
mod leadership;
mod nearest;
mod option_file;
mod options;
mod password;
mod proxy;
mod read;
mod secrets;
mod section;
mod servers;
mod types;

use read::Rejected;

pub use errors::{ConfigError, ConfigErrors};
pub use options::argument as mysqld_argument;
pub use types::*;

/// The longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

impl Config {
    /// Reads and checks a configuration file. `env` gives the value of an environment variable.
    ///
    /// # Errors
    /// All that is wrong in the file, or that it cannot be read.
    pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let file = path.display().to_string();
        let text = files::read_text(path, MAX_FILE_BYTES).map_err(|problem| {
            let remedy = "name a readable TOML file with --config";
            ConfigErrors::unread(&file, format!("the configuration {problem}"), remedy)
        })?;
        // Of a bare file name it is empty, which means the working directory.
        let base_dir = path.parent().unwrap_or_else(|| Path::new(""));
        Self::from_toml_str(&text, &file, base_dir, env)
    }

    /// Checks a configuration text. Relative paths in it start at `base_dir`; `file_name` stands
    /// in the errors only.
    ///
    /// # Errors
    /// All that is wrong in the text.
    pub fn from_toml_str(
        text: &str,
        file_name: &str,
        base_dir: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        read::config(text, base_dir, env).map_err(|Rejected { errors, hidden }| {
            ConfigErrors::new(file_name, text, &hidden, errors)
        })
    }
}

#[cfg(test)]
mod tests;

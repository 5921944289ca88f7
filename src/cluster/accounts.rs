//! The accounts of a cluster and what they may do, as SQL. Pure.
//!
//! With the engine on another host than Weir, `root`, `weir_monitor` and `weir_clone` may come from anywhere.
//!
//! | account | from | may |
//! |---|---|---|
//! | `root` | the node itself, the cluster's network | everything; Weir's own changes |
//! | `weir_replication` | the cluster's network | fetch the binary log, nothing else |
//! | `weir_monitor` | the cluster's network | see replication status, threads and performance_schema |
//! | `weir_clone` | the cluster's network | have a server copied (`BACKUP_ADMIN`), nothing else |
//! | the application's | anywhere | everything in its own database |

use crate::config::Secret;

use super::subnet::Subnet;

pub(super) const ROOT: &str = "root";
pub(super) const REPLICATION: &str = "weir_replication";
pub const MONITOR: &str = "weir_monitor";
/// Copies a server for another: <https://dev.mysql.com/doc/refman/8.4/en/clone-plugin-remote.html>.
pub(super) const DONOR: &str = "weir_clone";
/// The accounts, the database and the rights on it, as [`Accounts::count_query`] counts them when all are there.
pub(super) const ALL: u64 = 6;

/// Who and what is to be made on the primary.
#[derive(Debug, Clone)]
pub(super) struct Accounts {
    pub subnet: Subnet,
    /// Weir itself is on another host, and comes from an address that is not known beforehand.
    pub remote: bool,
    pub replication: Secret,
    pub monitor: Secret,
    pub donor: Secret,
    pub application_user: String,
    pub application: Secret,
    pub database: String,
}

impl Accounts {
    /// The statements, in order; running them again changes nothing but lost passwords and rights.
    /// They hold passwords: not for logs.
    pub(super) fn statements(&self) -> Vec<String> {
        let application = account(&self.application_user, "%");
        let mut all = vec![format!("CREATE DATABASE IF NOT EXISTS {}", name(&self.database))];
        all.extend(self.own_statements());
        all.extend(with_password(&application, &self.application));
        all.push(format!(
            "GRANT ALL PRIVILEGES ON {}.* TO {application}",
            name(&wildcard_safe(&self.database))
        ));
        all
    }

    /// The part of them that makes Weir's own accounts.
    pub(super) fn own_statements(&self) -> Vec<String> {
        let inside = self.subnet.account_host();
        let replication = account(REPLICATION, &inside);
        let weirs = self.weirs_host();
        let monitor = account(MONITOR, &weirs);
        let donor = account(DONOR, &weirs);
        let mut all = with_password(&replication, &self.replication).to_vec();
        all.push(format!("GRANT REPLICATION SLAVE ON *.* TO {replication}"));
        all.extend(with_password(&monitor, &self.monitor));
        all.push(format!("GRANT REPLICATION CLIENT, PROCESS ON *.* TO {monitor}"));
        all.push(format!("GRANT SELECT ON performance_schema.* TO {monitor}"));
        all.extend(with_password(&donor, &self.donor));
        all.push(format!("GRANT BACKUP_ADMIN ON *.* TO {donor}"));
        all
    }

    /// How many of the accounts, the database and the last of the rights are there: one row, one number, [`ALL`] when
    /// all. Without the rights a Weir that was killed right before its last statement would leave the application
    /// none for good.
    pub(super) fn count_query(&self) -> String {
        let inside = self.subnet.account_host();
        format!(
            "SELECT (SELECT COUNT(*) FROM mysql.user WHERE (user = {} AND host = {inside}) OR (user = {} AND \
             host = {weirs}) OR (user = {} AND host = {weirs}) OR (user = {} AND host = '%')) + (SELECT \
             COUNT(*) FROM information_schema.schemata WHERE schema_name = {}) + (SELECT COUNT(*) FROM mysql.db \
             WHERE user = {} AND host = '%' AND db = {})",
            string(REPLICATION),
            string(MONITOR),
            string(DONOR),
            string(&self.application_user),
            string(&self.database),
            string(&self.application_user),
            string(&wildcard_safe(&self.database)),
            inside = string(&inside),
            weirs = string(&self.weirs_host()),
        )
    }

    /// Where the accounts that Weir itself logs in with may come from.
    fn weirs_host(&self) -> String {
        if self.remote { "%".to_owned() } else { self.subnet.account_host() }
    }
}

/// Users of the cluster's own network that Weir makes itself, root among them.
pub(super) const OWN: [&str; 4] = [ROOT, REPLICATION, MONITOR, DONOR];

/// Counts what is neither MySQL's nor root's: databases and accounts. Zero means blank.
pub(super) const FOREIGN_OBJECTS: &str = "SELECT (SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name \
    NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')) + (SELECT COUNT(*) FROM mysql.user \
    WHERE user NOT IN ('root', 'mysql.sys', 'mysql.session', 'mysql.infoschema'))";

/// A string literal; sessions here run with an empty sql_mode, where a backslash escapes.
pub(super) fn string(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A quoted name.
pub(super) fn name(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}

fn account(user: &str, host: &str) -> String {
    format!("{}@{}", string(user), string(host))
}

fn with_password(account: &str, password: &Secret) -> [String; 2] {
    let password = string(password.expose());
    [
        format!("CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {password}"),
        format!("ALTER USER {account} IDENTIFIED BY {password}"),
    ]
}

/// In a GRANT, `_` and `%` of a database name are wildcards unless escaped.
fn wildcard_safe(database: &str) -> String {
    database.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            subnet: Subnet::parse("172.20.0.0/16").unwrap(),
            remote: false,
            replication: Secret::new("r".to_owned()),
            monitor: Secret::new("m".to_owned()),
            donor: Secret::new("d".to_owned()),
            application_user: "o'app".to_owned(),
            application: Secret::new(r"a\'b".to_owned()),
            database: "my_db`".to_owned(),
        }
    }

    #[test]
    fn least_privilege() {
        let all = accounts().statements().join("\n");
        for right in [
            "GRANT REPLICATION SLAVE ON *.* TO 'weir_replication'@'172.20.0.0/255.255.0.0'\n",
            "GRANT BACKUP_ADMIN ON *.* TO 'weir_clone'@'172.20.0.0/255.255.0.0'\n",
            "GRANT REPLICATION CLIENT, PROCESS ON *.* TO 'weir_monitor'@'172.20.0.0/255.255.0.0'\n",
            r"GRANT ALL PRIVILEGES ON `my\_db```.* TO 'o''app'@'%'",
        ] {
            assert!(all.contains(right), "{all}");
        }
        assert_eq!(all.matches("GRANT ALL").count(), 1);
        assert!(!all.contains("GRANT OPTION") && !all.contains("SUPER"));
    }

    #[test]
    fn from_another_host_weir_may_come_from_anywhere() {
        let remote = Accounts { remote: true, ..accounts() };
        let all = remote.statements().join("\n");
        for account in ["'weir_monitor'@'%'", "'weir_clone'@'%'", "'weir_replication'@'172.20.0.0/"]
        {
            assert!(all.contains(account), "{all}");
        }
        assert_eq!(remote.count_query().matches("host = '%'").count(), 4);
        assert_eq!(accounts().count_query().matches("host = '%'").count(), 2);
    }

    #[test]
    fn what_operators_typed_is_quoted() {
        let all = accounts().statements();
        assert_eq!(all[0], "CREATE DATABASE IF NOT EXISTS `my_db```");
        assert!(
            all.iter().any(|sql| sql.ends_with(r"'o''app'@'%' IDENTIFIED BY 'a\\''b'")),
            "{all:?}"
        );
    }

    #[test]
    fn the_debug_form_hides_passwords() {
        let secret = Accounts { monitor: Secret::new("hunter2".to_owned()), ..accounts() };
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}

//! What the engine, the log and the disk tell: does the server run, and if not, why.

use super::texts;
use super::{ContainerSymptoms, Disk, Finding, Kind, Limits, Safe, Symptoms, count};

/// InnoDB begins to read its files, and has finished: what lies between is its recovery.
const INNODB_STARTS: &str = "InnoDB initialization has started";
const INNODB_READY: &str = "InnoDB initialization has ended";

pub(super) fn look(node: &Symptoms, limits: Limits, findings: &mut Vec<Finding>) {
    let name = &node.name;
    let disk = disk(node, limits);
    let is_full = disk.as_ref().is_some_and(|finding| finding.kind == Kind::DiskFull);
    findings.extend(disk);
    let Some(container) = &node.container else {
        findings.push(missing(node));
        return;
    };
    let found = match container.status.as_str() {
        "exited" | "dead" => Some(exited(node, container, is_full)),
        "restarting" => Some(restarting(node, container, is_full)),
        "paused" => Some((
            Kind::ContainerPaused,
            format!("the container of {name} is paused, so its server stands still"),
            repair(name, "wakes it"),
            Safe::Start,
        )),
        "created" => Some((
            Kind::ContainerExited,
            format!("the container of {name} was made but never started"),
            repair(name, "starts it"),
            Safe::Start,
        )),
        _ if container.detached => Some((
            Kind::CutOff,
            format!("{name} was taken out of the cluster's network, so nobody reaches its server"),
            repair(name, "puts it back"),
            Safe::Start,
        )),
        _ if node.server.is_none() => Some(silent(node, container, is_full)),
        _ if container.health == "unhealthy" => Some((
            Kind::ContainerUnhealthy,
            format!(
                "the engine's health check fails on {name} although its server answers Weir, so the \
                 server is slow or out of connections"
            ),
            format!("look at what runs on {name} (SHOW PROCESSLIST)"),
            Safe::Nothing,
        )),
        _ => None,
    };
    findings.extend(found.map(|(kind, sentence, remedy, safe)| Finding {
        node: name.clone(),
        kind,
        sentence,
        remedy,
        safe,
    }));
}

type Found = (Kind, String, String, Safe);

fn missing(node: &Symptoms) -> Finding {
    let name = &node.name;
    let (kind, sentence, remedy) = if node.volume {
        (
            Kind::ContainerMissing,
            format!("{name} has no container; its data is in {}", node.place),
            repair(name, "makes the container again around that data"),
        )
    } else {
        (
            Kind::VolumeMissing,
            format!("{name} has neither container nor data: that is gone, if it had any"),
            repair(name, "makes it anew, and a replica gets its data from the primary"),
        )
    };
    Finding { node: name.clone(), kind, sentence, remedy, safe: Safe::Start }
}

fn exited(node: &Symptoms, container: &ContainerSymptoms, disk_full: bool) -> Found {
    let name = &node.name;
    let (how, by_itself) = ending(container);
    let sentence = with_last_error(
        format!("the container of {name} has ended: {how}"),
        node,
        // After an ordered stop the log tells old stories.
        by_itself && container.exit_code != 137,
    );
    if disk_full {
        return (Kind::ContainerExited, sentence, room(node), Safe::Nothing);
    }
    (Kind::ContainerExited, sentence, repair(name, "starts it"), Safe::Start)
}

fn restarting(node: &Symptoms, container: &ContainerSymptoms, disk_full: bool) -> Found {
    let name = &node.name;
    let sentence = with_last_error(
        format!(
            "the server of {name} ends each time it is started, {} so far: {}",
            count(unsigned(container.restarts), "restart"),
            ending(container).0
        ),
        node,
        true,
    );
    let remedy = if disk_full {
        room(node)
    } else {
        format!(
            "mend what its log names (`docker logs {name}`), often a wrong option in [cluster] options"
        )
    };
    (Kind::ContainerRestarting, sentence, remedy, Safe::Nothing)
}

/// The container runs and nobody gets in.
fn silent(node: &Symptoms, container: &ContainerSymptoms, disk_full: bool) -> Found {
    let name = &node.name;
    if recovers(&node.log) {
        return (
            Kind::Recovering,
            format!(
                "InnoDB on {name} goes through its log after a crash and lets nobody in until it has \
                 finished"
            ),
            "leave it alone: a restart would make it begin anew".to_owned(),
            Safe::Wait,
        );
    }
    let why = node.refusal.as_deref().unwrap_or("no reason was given");
    if disk_full {
        let sentence =
            format!("the server of {name} does not answer ({why}) while its disk is full");
        return (Kind::ServerSilent, sentence, room(node), Safe::Nothing);
    }
    let kind = match container.health.as_str() {
        "unhealthy" => Kind::ContainerUnhealthy,
        _ => Kind::ServerSilent,
    };
    let health = match container.health.as_str() {
        "" => String::new(),
        health => format!(", and the engine says {health}"),
    };
    (
        kind,
        format!("the container of {name} runs but its server does not answer ({why}{health})"),
        format!("look at its log (`docker logs {name}`); a server that just starts needs a moment"),
        Safe::Nothing,
    )
}

/// Whether the last start is still inside InnoDB's part of it.
fn recovers(log: &[String]) -> bool {
    let last = |words: &str| log.iter().rposition(|line| line.contains(words));
    match (last(INNODB_STARTS), last(INNODB_READY)) {
        (Some(started), Some(ready)) => started > ready,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// How it ended, and whether that was the server's own doing.
fn ending(container: &ContainerSymptoms) -> (String, bool) {
    let code = container.exit_code;
    match code {
        _ if container.out_of_memory => (
            "the kernel killed it because memory ran out (exit code 137); lower memory_mb in [cluster], or \
             give the host more"
                .to_owned(),
            false,
        ),
        0 => ("it was stopped in order (exit code 0)".to_owned(), false),
        137 => ("it was killed by SIGKILL (exit code 137)".to_owned(), true),
        143 => ("it was stopped by SIGTERM (exit code 143)".to_owned(), false),
        134 | 139 => (format!("the server crashed (exit code {code})"), true),
        _ => (format!("the server gave up (exit code {code})"), true),
    }
}

fn with_last_error(sentence: String, node: &Symptoms, wanted: bool) -> String {
    match texts::last_error(&node.log) {
        Some(error) if wanted => {
            format!("{sentence}; its last error was: {}", texts::shortened(error))
        }
        _ => sentence,
    }
}

/// Known room decides; where nobody could ask, the log does.
fn disk(node: &Symptoms, limits: Limits) -> Option<Finding> {
    let name = &node.name;
    let (kind, sentence) = match node.disk {
        Some(Disk { free, size }) if free < limits.disk_bytes => (
            Kind::DiskFull,
            format!("the disk of {name} is full: {} free of {}", bytes(free), bytes(size)),
        ),
        Some(disk) => (Kind::DiskLow, low(name, disk, limits)?),
        None => {
            let runs = node.server.is_some();
            let line = node.log.iter().rev().find(|line| texts::is_disk_full(0, line))?;
            let line = line.split_once("] ").map_or(line.as_str(), |(_, text)| text);
            let sentence = format!("the disk of {name} was full: {}", texts::shortened(line));
            (Kind::DiskFull, (!runs).then_some(sentence)?)
        }
    };
    let remedy = room(node);
    Some(Finding { node: name.clone(), kind, sentence, remedy, safe: Safe::Nothing })
}

/// Little of the disk and little by itself: 4 % of many terabytes last for long.
fn low(name: &str, Disk { free, size }: Disk, limits: Limits) -> Option<String> {
    let part = free.saturating_mul(100).checked_div(size)?;
    let is_low = part < limits.low_percent && free < limits.low_bytes;
    is_low.then(|| {
        format!("the disk of {name} is nearly full: {} free of {}", bytes(free), bytes(size))
    })
}

fn room(node: &Symptoms) -> String {
    let (name, place) = (&node.name, &node.place);
    format!(
        "make room on the disk that holds {place}; a server that waits for it goes on by itself, \
         `weir cluster repair {name}` starts what has stopped"
    )
}

pub(super) fn repair(name: &str, does: &str) -> String {
    format!("`weir cluster repair {name}` {does}")
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// "512 bytes", "12 KiB", "3.4 MiB", "1.0 GiB"
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, size) in UNITS {
        if number >= size {
            let tenths = number.saturating_mul(10) / size;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    count(number, "byte")
}

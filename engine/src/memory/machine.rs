//! How much memory there is: the machine's, or less where a control group (a container, a unit of systemd) allows less.

use std::path::{Path, PathBuf};

/// Where nothing can be read: a small gateway.
const UNKNOWN_BYTES: u64 = 1 << 30;

/// Bytes that this process may use.
#[must_use]
pub fn machine_memory_bytes() -> u64 {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    memory_bytes(&read)
}

fn memory_bytes(read: &dyn Fn(&Path) -> Option<String>) -> u64 {
    let total = read(Path::new("/proc/meminfo")).and_then(|text| total_bytes(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|path| read(&path)?.trim().parse().ok());
    // Without a limit the file says `max`, or a number beyond any memory.
    limits.chain(total).min().unwrap_or(UNKNOWN_BYTES)
}

/// `MemTotal:       16318480 kB`
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The files that bound a process of these groups, its own group's and those above it; within a container the group that
/// is seen is often the root.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|c| c == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let of_group = |group: &Path| Path::new(root).join(group.strip_prefix("/").unwrap_or(group)).join(file);
        files.extend(Path::new(path).ancestors().map(of_group));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> u64 {
        memory_bytes(&|path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn the_least_of_the_machine_and_its_groups_counts() {
        let machine = ("/proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n");
        assert_eq!(of(&[]), UNKNOWN_BYTES);
        assert_eq!(of(&[machine]), 1_024_000);
        let group = ("/proc/self/cgroup", "0::/system.slice/x.service\n");
        let unbounded = ("/sys/fs/cgroup/system.slice/x.service/memory.max", "max\n");
        assert_eq!(of(&[machine, group, unbounded]), 1_024_000);
        assert_eq!(of(&[machine, group, unbounded, ("/sys/fs/cgroup/system.slice/memory.max", "5000\n")]), 5_000);
        let old = ("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/1\n");
        let bound = ("/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "4096\n");
        assert_eq!(of(&[machine, old, bound]), 4_096);
        assert_eq!(of(&[machine, old, ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "512\n")]), 512);
    }
}

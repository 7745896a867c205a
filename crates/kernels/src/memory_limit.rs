//! How much memory this process may use, as far as the system says so.

use std::path::Path;

/// The lowest limit that is set for this process, in bytes: of its control groups (versions 1 and 2, those above it
/// included) and of its address space. `None` where there is none, or none that can be read.
#[must_use]
pub fn memory_limit() -> Option<usize> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let in_groups =
        group_files(&groups).into_iter().filter_map(|path| read(Path::new(&path))?.trim().parse().ok());
    let limits = read(Path::new("/proc/self/limits")).unwrap_or_default();
    // Version 1 spells "no limit" as a number near 2^63.
    in_groups.chain(address_space(&limits)).filter(|&bytes: &usize| bytes < usize::MAX / 4).min()
}

/// The files that may hold a limit, by the lines of `/proc/self/cgroup`: `0::/a/b` (version 2), `5:memory:/a/b` (version 1).
/// In a container the path may be that of the host, which is not there; the root then is the container's own group.
fn group_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|each| each == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let above = Path::new(path).ancestors().filter_map(Path::to_str);
        files.extend(above.map(|group| format!("{root}{}/{name}", group.trim_end_matches('/'))));
    }
    files
}

/// The soft limit in the line `Max address space` of `/proc/self/limits`.
fn address_space(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_and_all_groups_above() {
        let files = group_files("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/user.slice/a\n");
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/user.slice/a/memory.max",
                "/sys/fs/cgroup/user.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(group_files("nonsense"), [""; 0]);
    }

    #[test]
    fn the_address_space_in_bytes_or_unlimited() {
        let limits = |soft: &str| {
            format!("Max cpu time  unlimited\nMax address space         {soft}      unlimited   bytes\n")
        };
        assert_eq!(address_space(&limits("2147483648")), Some(2 << 30));
        assert_eq!(address_space(&limits("unlimited")), None);
    }
}

//! Huge pages below large blocks, so that a fault brings 2 MiB instead of 4 KiB.

/// Size of an ordinary page, which advice is given in.
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;

/// Asks for huge pages below the whole pages among `bytes` bytes at `from`, an allocation not yet touched. Advice only: failure
/// changes nothing.
#[allow(unsafe_code)]
pub(crate) fn advise(from: *const u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        // glibc puts a header of 16 bytes before a large block, and madvise takes whole pages only.
        let skipped = from.addr().next_multiple_of(PAGE) - from.addr();
        let whole = bytes.saturating_sub(skipped) / PAGE * PAGE;
        if whole > 0 && !from.is_null() {
            // SAFETY: a range of whole pages inside an allocation of the caller's; MADV_HUGEPAGE changes no contents.
            unsafe { libc::madvise(from.byte_add(skipped).cast_mut().cast(), whole, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (from, bytes);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::PAGE;

    /// The flags of the mapping that holds `address`, as the kernel lists them.
    fn flags(address: usize) -> Option<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            if let Some((from, to)) = range
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                inside = (from..to).contains(&address);
            } else if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return Some(flags.to_owned());
            }
        }
        None
    }

    /// Also of blocks that begin within a page, as glibc's do. `hg` is the kernel's name for the advice.
    #[test]
    fn advice_reaches_the_kernel() {
        let block = Vec::<u8>::with_capacity(64 << 20);
        super::advise(block.as_ptr().wrapping_add(1), block.capacity() - 1);
        let inside = flags(block.as_ptr().addr() + 4 * PAGE);
        // A kernel without huge pages has no such flag.
        if std::path::Path::new("/sys/kernel/mm/transparent_hugepage/enabled").exists() {
            assert!(
                inside.as_ref().is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hg")),
                "{inside:?}"
            );
        }
    }
}

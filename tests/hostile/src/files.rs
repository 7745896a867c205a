//! Input for readers that take files.

use std::cell::RefCell;
use std::io::Write as _;
use std::path::Path;

use networks::weights::{Source as _, WeightFile};

use crate::limits::bounded;

thread_local! {
    static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

/// Writes `bytes` as the file `name` of a folder of this process (in memory where there is such a file system) and hands its
/// path to `work`: for readers that take files.
pub fn with_file<T>(name: &str, bytes: &[u8], work: impl FnOnce(&Path) -> T) -> T {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| {
            let memory = Path::new("/dev/shm");
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
        });
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        work(&path)
    })
}

/// Reads `bytes` as a weight file: whatever opens can be read, tensor by tensor, and no tensor is larger than the file.
pub fn read_weights(name: &str, bytes: &[u8]) {
    with_file(name, bytes, |path| {
        bounded(bytes.len(), 0, || {
            let Ok(file) = WeightFile::open(path) else { return };
            for name in file.names().iter().take(16) {
                let shape = file.shape(name).expect("a name that was listed");
                if let Ok(tensor) = file.read(name) {
                    assert_eq!(tensor.dims(), shape);
                    assert!(
                        tensor.elem_count() <= bytes.len(),
                        "{name}: more elements than the file has bytes"
                    );
                }
            }
        });
    });
}

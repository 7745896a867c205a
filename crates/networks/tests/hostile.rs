//! Weight files made to cost more than they weigh: each is refused, or read, within a small multiple of its own size.
//! One test, as it looks at the memory of the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::io::Write;
use std::path::Path;

use networks::weights::{Source, WeightFile};

/// The most memory this process has ever held, in bytes (Linux; elsewhere 0, which passes).
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok()).unwrap_or(0) << 10
}

/// A zip archive of one stored member, as torch lays it out.
fn zip(name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let sizes = [data.len() as u32, data.len() as u32].map(u32::to_le_bytes).concat();
    bytes.extend(&sizes);
    bytes.extend([name.len() as u8, 0, 0, 0]);
    bytes.extend(name.as_bytes());
    bytes.extend(data);
    let directory = bytes.len() as u32;
    bytes.extend(b"PK\x01\x02\x0a\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0");
    bytes.extend(&sizes);
    bytes.extend([name.len() as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(name.as_bytes());
    let length = bytes.len() as u32 - directory;
    bytes.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    bytes.extend(length.to_le_bytes());
    bytes.extend(directory.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// A zip archive of many empty members, of as few bytes as may be.
fn many_members() -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    let count = 60_000u16;
    for number in 0..count {
        let offset = (bytes.len() as u32).to_le_bytes();
        let name = number.to_le_bytes().map(|byte| format!("{byte:02x}")).concat();
        bytes.extend(b"PK\x03\x04\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes.extend([name.len() as u8, 0, 0, 0]);
        bytes.extend(name.as_bytes());
        directory.extend(b"PK\x01\x02\x0a\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        directory.extend([name.len() as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        directory.extend(offset);
        directory.extend(name.as_bytes());
    }
    let start = (bytes.len() as u32).to_le_bytes();
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start);
    bytes.extend([0, 0]);
    bytes
}

/// A zip archive of one member that claims as many as a number can say, in a directory of any size.
fn claimed_members() -> Vec<u8> {
    let mut bytes = zip("archive/data.pkl", b"\x80\x02N.");
    let (end, directory) = (bytes.len() - 22, bytes.len() - 22 - 46 - "archive/data.pkl".len());
    bytes.truncate(end);
    bytes.extend(b"PK\x06\x06");
    bytes.extend(44u64.to_le_bytes());
    bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in [1 << 40, 1 << 40, 1 << 50, directory as u64] {
        bytes.extend(u64::to_le_bytes(number));
    }
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend((end as u64).to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([0xFF; 12]);
    bytes.extend([0, 0]);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// A name of a megabyte, made into a global again and again.
fn global_bomb() -> Vec<u8> {
    let mut pickle = [b"\x80\x04".as_slice(), &text(&"x".repeat(1 << 20)), b"q\0"].concat();
    for _ in 0..100_000 {
        pickle.extend(b"h\0h\0\x930");
    }
    pickle.extend(b".");
    pickle
}

/// A dictionary of names that all stand for one other dictionary of many names.
fn dictionary_bomb() -> Vec<u8> {
    let mut pickle = b"\x80\x02}q\0(".to_vec();
    for name in 0..20_000 {
        pickle.extend([text(&name.to_string()), b"N".to_vec()].concat());
    }
    pickle.extend(b"u0}(");
    for name in 0..20_000 {
        pickle.extend([text(&name.to_string()), b"h\0".to_vec()].concat());
    }
    pickle.extend(b"u.");
    pickle
}

/// A tensor of a hundred thousand dimensions, named ten thousand times.
fn dimension_bomb() -> Vec<u8> {
    let mut pickle = b"\x80\x02(".to_vec();
    (0..100_000).for_each(|_| pickle.extend(b"K\x01"));
    pickle.extend(b"tq\x010"); // the shape, and its strides
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(");
    pickle.extend(
        [b"(".to_vec(), text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu")].concat(),
    );
    pickle.extend(b"K\x01tQK\0h\x01h\x01\x89)tRq\x020}(");
    for name in 0..10_000 {
        pickle.extend([text(&name.to_string()), b"h\x02".to_vec()].concat());
    }
    pickle.extend(b"u.");
    pickle
}

/// As many values as one-byte opcodes can make.
fn flood(opcode: u8) -> Vec<u8> {
    [b"\x80\x02".to_vec(), vec![opcode; 2 << 20], b".".to_vec()].concat()
}

/// A protobuf field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

/// Many initialisers, each with its values in a file of its own.
fn onnx_of_many_files() -> Vec<u8> {
    let tensor = |number: usize| {
        let entry = [field(1, b"location"), field(2, format!("missing-{number}").as_bytes())].concat();
        let name = field(8, number.to_string().as_bytes());
        field(5, &[vec![8, 1, 16, 1], name, field(13, &entry)].concat())
    };
    field(7, &(0..300_000).flat_map(tensor).collect::<Vec<u8>>())
}

fn open(folder: &Path, bytes: &[u8]) -> networks::Result<WeightFile> {
    let path = folder.join("hostile");
    std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    WeightFile::open(&path)
}

#[test]
fn no_file_costs_much_more_than_it_weighs() {
    let folder = tempfile::tempdir().unwrap();
    let torch = |pickle: &[u8]| zip("archive/data.pkl", pickle);
    let whole = torch(b"\x80\x02}(X\x01\0\0\0aNu.");
    let refused = open(folder.path(), &whole).err().expect("no tensors").to_string();
    assert!(refused.contains("holds no tensors by name"), "the archive itself is in order: {refused}");
    let files = [
        ("members", many_members()),
        ("members that are not there", claimed_members()),
        ("globals", torch(&global_bomb())),
        ("dictionaries", torch(&dictionary_bomb())),
        ("dimensions", torch(&dimension_bomb())),
        ("lists", torch(&flood(b']'))),
        ("dictionaries without names", torch(&flood(b'}'))),
        ("marks", torch(&flood(b'('))),
        ("nothings", torch(&flood(b'N'))),
        ("empty tuples", torch(&flood(b')'))),
        ("memo", torch(&[b"\x80\x02N".to_vec(), vec![0x94; 2 << 20], b".".to_vec()].concat())),
        ("files beside", onnx_of_many_files()),
        ("initialisers of nothing", field(7, &[0x2A, 0].repeat(1 << 20))),
        ("nodes of nothing", field(7, &[0x0A, 0].repeat(1 << 20))),
    ];
    for (what, bytes) in files {
        let before = peak_memory();
        if let Ok(file) = open(folder.path(), &bytes) {
            assert!(file.names().len() < bytes.len(), "{what}");
        }
        let cost = peak_memory() - before;
        assert!(cost <= 20 * bytes.len() + (16 << 20), "{what}: {} bytes cost {cost}", bytes.len());
    }
}

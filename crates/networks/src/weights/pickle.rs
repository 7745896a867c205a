//! An interpreter of the pickle opcodes torch writes (protocols 0–4, as documented in CPython's `pickletools`).
//!
//! It builds a tree of plain values and executes nothing: a global is a name, a call is recorded, not made. What is not
//! needed to find tensors stays an opaque node. Nodes live in one arena and refer to each other by number, so shared and
//! memoised values cost nothing; texts stay in the file and are never copied; and how much one byte of the file may build is
//! bounded, so that no pickle takes more than a small multiple of its size.
//!
//! Not candle's reader: that one opens the file anew for every tensor, prints what it cannot read and goes on without it, and
//! knows no files of torch before 1.6.

use std::collections::HashMap;

/// Index of a node in [`Values`].
pub(super) type Id = u32;

/// Nodes that a pickle may have whatever its size, and how many of its bytes each further one takes: what torch writes
/// takes three or more, as it puts every value into its memo. The constants (None, True, False, the empty tuple) are free.
const NODES: usize = 64;
const BYTES_FOR_A_NODE: usize = 2;

/// A value of the pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// None, floats, integers beyond 64 bits, and results of calls that are not understood.
    Opaque,
    Int(i64),
    /// As it stands in the file; hopefully UTF-8.
    Text(&'a [u8]),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Something of a module, by name.
    Global(Global),
    /// A reference to an object outside the pickle: torch's storages.
    Persistent(Id),
    /// `callable(*arguments)`, not performed.
    Call {
        callable: Id,
        arguments: Id,
    },
}

/// The globals that have a meaning here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// A class of storages, by its name without `torch.`.
    Storage(&'static str),
    /// Any other.
    Unknown,
}

/// The storage classes of torch.
const STORAGES: [&str; 8] = [
    "FloatStorage",
    "HalfStorage",
    "BFloat16Storage",
    "DoubleStorage",
    "LongStorage",
    "IntStorage",
    "ByteStorage",
    "BoolStorage",
];

impl Global {
    fn named(module: &[u8], name: &[u8]) -> Self {
        match (module, name) {
            (b"collections", b"OrderedDict") => Self::OrderedDict,
            (b"torch._utils", b"_rebuild_tensor_v2" | b"_rebuild_tensor") => Self::RebuildTensor,
            (b"torch._utils", b"_rebuild_parameter") => Self::RebuildParameter,
            (b"torch", name) => STORAGES
                .iter()
                .find(|class| class.as_bytes() == name)
                .map_or(Self::Unknown, |class| Self::Storage(class)),
            _ => Self::Unknown,
        }
    }
}

/// Everything one pickle built.
#[derive(Debug)]
pub(super) struct Values<'a> {
    nodes: Vec<Value<'a>>,
    root: Id,
    /// Bytes it took.
    length: usize,
}

impl<'a> Values<'a> {
    pub(super) fn get(&self, id: Id) -> &Value<'a> {
        self.nodes.get(id as usize).unwrap_or(&Value::Opaque)
    }

    /// All values.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        0..self.nodes.len() as Id // bounded in `push`
    }

    /// Bytes of the pickle.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn root(&self) -> Id {
        self.root
    }

    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        match self.get(id) {
            Value::Text(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    pub(super) fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Key and value pairs of a dictionary, also of an `OrderedDict`.
    pub(super) fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(entries) => Some(entries),
            _ => None,
        }
    }
}

/// Reads one pickle; returns its values and the bytes it took.
pub(super) fn read(bytes: &[u8]) -> Result<(Values<'_>, usize), String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        nodes: CONSTANTS.to_vec(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    while !machine.step()? {}
    let root = machine.pop()?;
    Ok((Values { nodes: machine.nodes, root, length: machine.at }, machine.at))
}

/// The nodes that every pickle begins with, and what they are.
const CONSTANTS: [Value<'static>; 4] =
    [Value::Opaque, Value::Int(1), Value::Int(0), Value::Tuple(Vec::new())];
const NONE: Id = 0;
const TRUE: Id = 1;
const FALSE: Id = 2;
const EMPTY_TUPLE: Id = 3;

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Stack heights at the open marks.
    marks: Vec<Id>,
    memo: HashMap<Id, Id>,
}

impl<'a> Machine<'a> {
    /// One opcode; true at STOP.
    fn step(&mut self) -> Result<bool, String> {
        let opcode = self.take(1)?[0];
        match opcode {
            b'.' => return Ok(true),
            0x80 => drop(self.take(1)?),                     // PROTO
            0x95 => drop(self.take(8)?),                     // FRAME
            b'(' => self.marks.push(self.stack.len() as Id), // MARK
            b'0' => drop(self.pop()?),                       // POP
            b'N' => self.stack.push(NONE),                   // NONE
            0x88 => self.stack.push(TRUE),                   // NEWTRUE
            0x89 => self.stack.push(FALSE),                  // NEWFALSE
            b')' => self.stack.push(EMPTY_TUPLE),            // EMPTY_TUPLE
            b'G' => {
                self.take(8)?; // BINFLOAT
                self.stack.push(NONE);
            }
            b'J' | b'K' | b'M' | 0x8a | 0x8b => self.integer(opcode)?,
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'B' | b'C' => self.string(opcode)?,
            b't' | 0x85..=0x87 | b']' | b'l' | b'}' | b'd' => self.container(opcode)?,
            b'a' | b'e' | b's' | b'u' => self.extend(opcode)?,
            b'q' | b'r' | b'p' | 0x94 | b'h' | b'j' | b'g' => self.memory(opcode)?,
            b'c' | 0x93 | b'Q' | b'R' | 0x81 | b'b' => self.object(opcode)?,
            other => return Err(format!("pickle opcode {other:#04x} is not one torch writes")),
        }
        Ok(false)
    }

    fn integer(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            b'J' => Value::Int(i64::from(self.number(4)? as u32 as i32)), // BININT is signed
            b'K' => Value::Int(self.number(1)? as i64),
            b'M' => Value::Int(self.number(2)? as i64),
            long => {
                let len = self.number(if long == 0x8a { 1 } else { 4 })? as usize; // LONG1, LONG4
                let body = self.take(len)?;
                match len {
                    0 => Value::Int(0),
                    1..=8 => {
                        let negative = body[len - 1] & 0x80 != 0;
                        let mut wide = [if negative { 0xFF } else { 0 }; 8];
                        wide[..len].copy_from_slice(body);
                        Value::Int(i64::from_le_bytes(wide))
                    }
                    _ => Value::Opaque,
                }
            }
        };
        self.push(value)
    }

    fn string(&mut self, opcode: u8) -> Result<(), String> {
        let width = match opcode {
            0x8c | b'U' | b'C' => 1,
            0x8d => 8,
            _ => 4,
        };
        let len = self.number(width)? as usize;
        let text = self.take(len)?;
        self.push(Value::Text(text))
    }

    fn container(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            b']' => Value::List(Vec::new()),
            b'}' => Value::Dict(Vec::new()),
            b't' => Value::Tuple(self.pop_to_mark()?),
            b'l' => Value::List(self.pop_to_mark()?),
            b'd' => Value::Dict(pairs(&self.pop_to_mark()?)),
            small => {
                let count = usize::from(small - 0x84); // TUPLE1..TUPLE3
                let from = self.stack.len().checked_sub(count).ok_or_else(underflow)?;
                Value::Tuple(self.stack.split_off(from))
            }
        };
        self.push(value)
    }

    /// APPEND, APPENDS, SETITEM, SETITEMS: items on the stack go into the container below them.
    fn extend(&mut self, opcode: u8) -> Result<(), String> {
        let items = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        let target = *self.stack.last().ok_or_else(underflow)?;
        match &mut self.nodes[target as usize] {
            Value::List(list) => list.extend(items),
            Value::Dict(entries) => entries.extend(pairs(&items)),
            _ => {} // Something opaque: what it holds does not matter either.
        }
        Ok(())
    }

    fn memory(&mut self, opcode: u8) -> Result<(), String> {
        let slot = match opcode {
            0x94 => self.memo.len() as Id,
            b'q' | b'h' => self.number(1)? as Id,
            b'r' | b'j' => self.number(4)? as Id,
            _ => std::str::from_utf8(self.line()?)
                .ok()
                .and_then(|line| line.parse().ok())
                .ok_or_else(damaged)?,
        };
        if matches!(opcode, b'h' | b'j' | b'g') {
            let id = *self.memo.get(&slot).ok_or_else(damaged)?;
            self.stack.push(id);
        } else {
            let id = *self.stack.last().ok_or_else(underflow)?;
            self.memo.insert(slot, id);
        }
        Ok(())
    }

    fn object(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(Global::named(module, name)))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?); // STACK_GLOBAL
                let (Value::Text(module), Value::Text(name)) =
                    (&self.nodes[module as usize], &self.nodes[name as usize])
                else {
                    return Err(damaged());
                };
                self.push(Value::Global(Global::named(module, name)))?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))?;
            }
            b'b' => drop(self.pop()?), // BUILD: attributes of an object; no tensor hides there in a state dictionary
            _ => {
                let (arguments, callable) = (self.pop()?, self.pop()?); // REDUCE, NEWOBJ
                let is_dict = self.nodes[callable as usize] == Value::Global(Global::OrderedDict);
                self.push(if is_dict {
                    Value::Dict(Vec::new())
                } else {
                    Value::Call { callable, arguments }
                })?;
            }
        }
        Ok(())
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), String> {
        if self.nodes.len() >= NODES + self.at / BYTES_FOR_A_NODE || self.nodes.len() >= Id::MAX as usize {
            return Err(
                "a pickle that builds more than torch would in so few bytes; it is not loaded".to_owned()
            );
        }
        self.stack.push(self.nodes.len() as Id);
        self.nodes.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(underflow)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or_else(underflow)? as usize;
        let from = Some(mark).filter(|mark| *mark <= self.stack.len()).ok_or_else(underflow)?;
        Ok(self.stack.split_off(from))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(len).ok_or_else(damaged)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(damaged)?;
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self, width: usize) -> Result<u64, String> {
        Ok(self.take(width)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// Text up to the next newline.
    fn line(&mut self) -> Result<&'a [u8], String> {
        let rest = self.bytes.get(self.at..).ok_or_else(damaged)?;
        let len = rest.iter().position(|b| *b == b'\n').ok_or_else(damaged)?;
        self.at += len + 1;
        Ok(&rest[..len])
    }
}

fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

fn damaged() -> String {
    "damaged pickle; download the file again".to_owned()
}

fn underflow() -> String {
    "damaged pickle (stack underflow); download the file again".to_owned()
}

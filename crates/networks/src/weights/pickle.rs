//! An interpreter of the pickle opcodes torch writes (protocols 0–4, as documented in CPython's `pickletools`).
//!
//! It builds a tree of plain values and executes nothing: a global is a name, a call is recorded, not made. What is not
//! needed to find tensors stays an opaque node. Nodes live in one arena and refer to each other by number, so shared and
//! memoised values cost nothing.

use std::collections::HashMap;

/// Index of a node in [`Values`].
pub(super) type Id = usize;

/// A value of the pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// None, floats, and results of calls that are not understood.
    Opaque,
    Int(i64),
    /// An integer beyond 64 bits, little-endian bytes.
    Long(Vec<u8>),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// `module.name`.
    Global(String),
    /// A reference to an object outside the pickle: torch's storages.
    Persistent(Id),
    /// `callable(*arguments)`, not performed.
    Call {
        callable: Id,
        arguments: Id,
    },
}

/// Everything one pickle built.
#[derive(Debug)]
pub(super) struct Values {
    nodes: Vec<Value>,
    root: Id,
}

impl Values {
    pub(super) fn get(&self, id: Id) -> &Value {
        self.nodes.get(id).unwrap_or(&Value::Opaque)
    }

    /// Number of values, the bound of every id.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn root(&self) -> Id {
        self.root
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
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
pub(super) fn read(bytes: &[u8]) -> Result<(Values, usize), String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    while !machine.step()? {}
    let root = machine.pop()?;
    Ok((Values { nodes: machine.nodes, root }, machine.at))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Value>,
    stack: Vec<Id>,
    /// Stack heights at the open marks.
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

impl Machine<'_> {
    /// One opcode; true at STOP.
    fn step(&mut self) -> Result<bool, String> {
        let opcode = self.take(1)?[0];
        match opcode {
            b'.' => return Ok(true),
            0x80 => drop(self.take(1)?),               // PROTO
            0x95 => drop(self.take(8)?),               // FRAME
            b'(' => self.marks.push(self.stack.len()), // MARK
            b'0' => drop(self.pop()?),                 // POP
            b'N' => self.push(Value::Opaque),          // NONE
            0x88 => self.push(Value::Int(1)),          // NEWTRUE
            0x89 => self.push(Value::Int(0)),          // NEWFALSE
            b'G' => {
                self.take(8)?; // BINFLOAT
                self.push(Value::Opaque);
            }
            b'J' | b'K' | b'M' | 0x8a | 0x8b => self.integer(opcode)?,
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'B' | b'C' => self.string(opcode)?,
            b')' | b't' | 0x85..=0x87 | b']' | b'l' | b'}' | b'd' => self.container(opcode)?,
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
                    _ => Value::Long(body.to_vec()),
                }
            }
        };
        self.push(value);
        Ok(())
    }

    fn string(&mut self, opcode: u8) -> Result<(), String> {
        let width = match opcode {
            0x8c | b'U' | b'C' => 1,
            0x8d => 8,
            _ => 4,
        };
        let len = self.number(width)? as usize;
        let text = String::from_utf8_lossy(self.take(len)?).into_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    fn container(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            b')' => Value::Tuple(Vec::new()),
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
        self.push(value);
        Ok(())
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
        match &mut self.nodes[target] {
            Value::List(list) => list.extend(items),
            Value::Dict(entries) => entries.extend(pairs(&items)),
            _ => {} // Something opaque: what it holds does not matter either.
        }
        Ok(())
    }

    fn memory(&mut self, opcode: u8) -> Result<(), String> {
        let slot = match opcode {
            0x94 => self.memo.len(),
            b'q' | b'h' => self.number(1)? as usize,
            b'r' | b'j' => self.number(4)? as usize,
            _ => self.line()?.parse().map_err(|_| damaged())?,
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
                self.push(Value::Global(format!("{module}.{name}")));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?); // STACK_GLOBAL
                let part = |id: Id| match &self.nodes[id] {
                    Value::Text(text) => Ok(text.clone()),
                    _ => Err(damaged()),
                };
                let global = format!("{}.{}", part(module)?, part(name)?);
                self.push(Value::Global(global));
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            b'b' => drop(self.pop()?), // BUILD: attributes of an object; no tensor hides there in a state dictionary
            _ => {
                let (arguments, callable) = (self.pop()?, self.pop()?); // REDUCE, NEWOBJ
                let is_dict =
                    matches!(&self.nodes[callable], Value::Global(g) if g == "collections.OrderedDict");
                self.push(if is_dict {
                    Value::Dict(Vec::new())
                } else {
                    Value::Call { callable, arguments }
                });
            }
        }
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.nodes.len());
        self.nodes.push(value);
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(underflow)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or_else(underflow)?;
        Ok(self.stack.split_off(mark))
    }

    fn take(&mut self, len: usize) -> Result<&[u8], String> {
        let end = self.at.checked_add(len).ok_or_else(damaged)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(damaged)?;
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self, width: usize) -> Result<u64, String> {
        Ok(self.take(width)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// Text up to the next newline.
    fn line(&mut self) -> Result<String, String> {
        let rest = self.bytes.get(self.at..).ok_or_else(damaged)?;
        let len = rest.iter().position(|b| *b == b'\n').ok_or_else(damaged)?;
        let line = String::from_utf8_lossy(&rest[..len]).into_owned();
        self.at += len + 1;
        Ok(line)
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

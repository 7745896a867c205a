//! The table of a torch file: a state dictionary in a zip archive (torch ≥ 1.6), or in the legacy form, five pickles
//! (magic number, protocol, system, object, storage keys) followed by the storages.
//!
//! Tensors are `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)`; a storage is the persistent reference
//! ("storage", class, key, location, elements[, view]).

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::DType;

use super::index::{Index, Stored};
use super::pickle::{self, Global, Id, Value, Values};
use super::zip;

/// What the index may hold for each byte of the pickle, in bytes of tensors' names: a name stands in the file once, a
/// prefix several times. Dictionaries that refer to one another many times would come to any amount.
const NAMES_FOR_A_BYTE: usize = 8;
/// The most dimensions of a tensor; networks have up to five.
const MAX_DIMENSIONS: usize = 8;

/// `torch.serialization.MAGIC_NUMBER`, 0x1950a86a20f9469cfc6c.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Whether the file begins with a pickle whose value is torch's magic number.
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    // PROTO 2, LONG1 of 10 bytes.
    matches!(bytes, [0x80, _, 0x8a, 10, rest @ ..] if rest.starts_with(&MAGIC))
}

pub(super) fn index_zip(bytes: &[u8]) -> Result<Index, String> {
    let members = zip::members(bytes)?;
    let (name, range) = members
        .iter()
        .find(|(name, _)| name.ends_with("/data.pkl"))
        .ok_or("is a zip archive but holds no data.pkl: not a torch file")?;
    let folder = name.trim_end_matches("data.pkl");
    if let Some(order) = members.get(&format!("{folder}byteorder"))
        && &bytes[order.clone()] != b"little"
    {
        return Err("was saved on a big-endian machine; save it again on a little-endian one".to_owned());
    }
    let (values, _) = pickle::read(&bytes[range.clone()])?;
    let tensors = Tensors { values: &values };
    let storage = |key: &str| members.get(&format!("{folder}data/{key}")).cloned();
    tensors.index(storage)
}

pub(super) fn index_legacy(bytes: &[u8]) -> Result<Index, String> {
    let mut at = 0;
    let mut next = || -> Result<Values<'_>, String> {
        let (values, len) = pickle::read(&bytes[at..])?;
        at += len;
        Ok(values)
    };
    let (_magic, _protocol, _system) = (next()?, next()?, next()?);
    let (object, keys) = (next()?, next()?);
    let tensors = Tensors { values: &object };
    let sizes = tensors.element_sizes();
    let mut storages: BTreeMap<String, Range<usize>> = BTreeMap::new();
    for id in keys.items(keys.root()).unwrap_or_default() {
        let key = keys.text(*id).ok_or("damaged list of storages")?;
        let length = bytes.get(at..at + 8).ok_or("is cut off before its storages")?;
        let elements = length.iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b));
        let size = sizes.get(key).ok_or_else(|| format!("storage {key} has no type"))?;
        let end = elements.checked_mul(*size).and_then(|n| n.checked_add(at + 8));
        let end = end.filter(|end| *end <= bytes.len()).ok_or("is cut off within its storages")?;
        storages.insert(key.to_owned(), at + 8..end);
        at = end;
    }
    tensors.index(|key| storages.get(key).cloned())
}

/// The tensors of a state dictionary.
struct Tensors<'a> {
    values: &'a Values<'a>,
}

/// A storage reference: key, element type, first element of the view.
struct Storage<'a> {
    key: &'a str,
    dtype: DType,
    view: usize,
}

impl Tensors<'_> {
    fn index(&self, bytes_of: impl Fn(&str) -> Option<Range<usize>>) -> Result<Index, String> {
        let mut index = Index::new();
        let mut left = NAMES_FOR_A_BYTE * self.values.length();
        self.collect(self.state_dictionary()?, "", &bytes_of, &mut index, &mut left)?;
        if index.is_empty() {
            return Err("holds no tensors by name; a state dictionary is needed".to_owned());
        }
        Ok(index)
    }

    /// Adds the tensors of a dictionary, and of the dictionaries in it as `outer.inner` (IP-Adapter's `.bin`). No deeper:
    /// a dictionary may hold itself.
    fn collect(
        &self,
        entries: &[(Id, Id)],
        prefix: &str,
        bytes_of: &impl Fn(&str) -> Option<Range<usize>>,
        index: &mut Index,
        left: &mut usize,
    ) -> Result<(), String> {
        for (key, value) in entries {
            let Some(key) = self.values.text(*key) else { continue };
            *left = left
                .checked_sub(prefix.len() + key.len() + 1)
                .ok_or("names more tensors than torch would in so few bytes; it is not loaded")?;
            let name = format!("{prefix}{key}");
            if let (Some(inner), true) = (self.values.entries(*value), prefix.is_empty()) {
                self.collect(inner, &format!("{name}."), bytes_of, index, left)?;
            }
            let Some(arguments) = self.tensor(*value) else { continue };
            let stored = self
                .stored(arguments, bytes_of)
                .ok_or_else(|| format!("tensor `{name}` is of a kind that cannot be read"))?;
            index.insert(name, stored);
        }
        Ok(())
    }

    /// The entries of the outermost dictionary, or of the one it keeps under a customary name.
    fn state_dictionary(&self) -> Result<&[(Id, Id)], String> {
        let entries = self.values.entries(self.values.root());
        let entries =
            entries.ok_or("does not hold a state dictionary but a whole object; save its state_dict()")?;
        let inner = entries.iter().find_map(|(key, value)| match self.values.text(*key) {
            Some("state_dict" | "model" | "params" | "params_ema") => self.values.entries(*value),
            _ => None,
        });
        Ok(inner.unwrap_or(entries))
    }

    /// The arguments of the call that rebuilds a tensor, also of one wrapped as a parameter.
    fn tensor(&self, id: Id) -> Option<&[Id]> {
        let (name, arguments) = self.call(id)?;
        let (name, arguments) = match name {
            Global::RebuildParameter => self.call(*arguments.first()?)?,
            _ => (name, arguments),
        };
        (name == Global::RebuildTensor).then_some(arguments)
    }

    /// Name and arguments of a recorded call.
    fn call(&self, id: Id) -> Option<(Global, &[Id])> {
        let Value::Call { callable, arguments } = self.values.get(id) else { return None };
        let Value::Global(name) = self.values.get(*callable) else { return None };
        Some((*name, self.values.items(*arguments)?))
    }

    fn stored(&self, arguments: &[Id], bytes_of: impl Fn(&str) -> Option<Range<usize>>) -> Option<Stored> {
        let &[storage, offset, shape, strides, ..] = arguments else { return None };
        let storage = self.storage(storage)?;
        let sizes = |id| -> Option<Vec<usize>> {
            let items = self.values.items(id).filter(|items| items.len() <= MAX_DIMENSIONS)?;
            items.iter().map(|id| self.values.size(*id)).collect()
        };
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        if shape.len() != strides.len() {
            return None;
        }
        let strides = (strides != row_major(&shape)).then_some(strides);
        let range = bytes_of(storage.key)?;
        let first = storage.view.checked_add(self.values.size(offset)?)?;
        let start = range.start.checked_add(first.checked_mul(storage.dtype.size_in_bytes())?)?;
        let end = start.checked_add(Stored::span(storage.dtype, &shape, strides.as_deref())?)?;
        (end <= range.end).then_some(Stored {
            float8: None,
            dtype: storage.dtype,
            shape,
            strides,
            file: 0,
            bytes: start..end,
        })
    }

    fn storage(&self, id: Id) -> Option<Storage<'_>> {
        let Value::Persistent(reference) = self.values.get(id) else { return None };
        let parts = self.values.items(*reference)?;
        let &[_, class, key, _, _, ..] = parts else { return None };
        let Value::Global(class) = self.values.get(class) else { return None };
        let Global::Storage(class) = class else { return None };
        let dtype = match *class {
            "FloatStorage" => DType::F32,
            "HalfStorage" => DType::F16,
            "BFloat16Storage" => DType::BF16,
            "DoubleStorage" => DType::F64,
            "LongStorage" => DType::I64,
            "IntStorage" => DType::I32,
            "ByteStorage" | "BoolStorage" => DType::U8,
            _ => return None,
        };
        // Legacy files may share a storage through a view: (key, first element, elements).
        let view = parts.get(5).and_then(|view| self.values.items(*view)).and_then(|view| view.get(1));
        let view = view.map_or(Some(0), |first| self.values.size(*first))?;
        Some(Storage { key: self.values.text(key)?, dtype, view })
    }

    /// Bytes per element of every storage the object refers to.
    fn element_sizes(&self) -> BTreeMap<String, usize> {
        let storages = self.values.ids().filter_map(|id| self.storage(id));
        storages.map(|s| (s.key.to_owned(), s.dtype.size_in_bytes())).collect()
    }
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides: Vec<usize> = shape
        .iter()
        .rev()
        .scan(1usize, |step, dim| {
            let stride = *step;
            *step = step.saturating_mul((*dim).max(1));
            Some(stride)
        })
        .collect();
    strides.reverse();
    strides
}

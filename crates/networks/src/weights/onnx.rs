//! The initialisers of an ONNX model: the few protobuf fields that hold weights, read by hand (onnx.proto3).
//!
//! Initialisers keep their names, but a convolution's whose name is a bare number (invented by the exporter when it folded
//! batch normalisation into it) is called `conv.K.weight` or `conv.K.bias`, K counting such Conv nodes in execution order.
//! Values stand inside the file or, by `external_data`, in files beside it.
//!
//! Not candle-onnx: it needs `protoc` to build, copies the whole file twice, and reads no external data.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::DType;

use super::index::{Index, Stored};

// Field numbers of onnx.proto3.
const MODEL_GRAPH: u64 = 7;
const GRAPH_NODE: u64 = 1;
const GRAPH_INITIALIZER: u64 = 5;
const NODE_INPUT: u64 = 1;
const NODE_OP_TYPE: u64 = 4;
const TENSOR_DIMS: u64 = 1;
const TENSOR_DATA_TYPE: u64 = 2;
const TENSOR_FLOAT_DATA: u64 = 4;
const TENSOR_NAME: u64 = 8;
const TENSOR_RAW_DATA: u64 = 9;
const TENSOR_EXTERNAL_DATA: u64 = 13;

/// The most dimensions of a tensor; networks have up to five.
const MAX_DIMENSIONS: usize = 8;

/// The table, and the names of files beside the model that hold values (file 1, 2, … of the table).
pub(super) fn index(bytes: &[u8]) -> Result<(Index, Vec<String>), String> {
    let whole = Message { bytes, range: 0..bytes.len() };
    let unknown = "is neither safetensors, nor a torch file, nor ONNX";
    let mut graph = None;
    for field in whole.fields() {
        let (number, payload) = field.ok_or(unknown)?;
        if let (MODEL_GRAPH, Payload::Bytes(range)) = (number, payload) {
            graph = Some(Message { bytes, range });
        }
    }
    let graph = graph.ok_or(unknown)?;
    let mut reader = GraphReader::default();
    for field in graph.fields() {
        let (number, payload) = field.ok_or("damaged ONNX graph; download the file again")?;
        let Payload::Bytes(range) = payload else { continue };
        let message = Message { bytes, range };
        match number {
            GRAPH_INITIALIZER => reader.initializer(&message)?,
            GRAPH_NODE => reader.node(&message),
            _ => {}
        }
    }
    reader.finish()
}

#[derive(Default)]
struct GraphReader {
    index: Index,
    /// Files beside the model, each once, and their places among `files`.
    places: HashMap<String, usize>,
    files: Vec<String>,
    /// Weight and bias names of the convolutions without a name of their own, in execution order.
    convolutions: Vec<Vec<String>>,
}

impl GraphReader {
    fn node(&mut self, node: &Message<'_>) {
        let op = node.texts(NODE_OP_TYPE).pop();
        let inputs = node.ranges(NODE_INPUT).into_iter().skip(1).take(2);
        let inputs: Vec<String> = inputs.map(|range| node.text(range)).collect();
        let invented = inputs.first().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        if op.as_deref() == Some("Conv") && invented {
            self.convolutions.push(inputs);
        }
    }

    fn initializer(&mut self, tensor: &Message<'_>) -> Result<(), String> {
        let name = tensor.texts(TENSOR_NAME).pop().unwrap_or_default();
        let fault = |what: &str| format!("initialiser `{name}` {what}");
        let shape = tensor.numbers(TENSOR_DIMS).ok_or_else(|| fault("has damaged dimensions"))?;
        let shape: Option<Vec<usize>> = shape.into_iter().map(|d| usize::try_from(d).ok()).collect();
        let shape = shape.ok_or_else(|| fault("has a dimension too large"))?;
        if shape.len() > MAX_DIMENSIONS {
            return Err(fault("has too many dimensions"));
        }
        let kind = tensor.numbers(TENSOR_DATA_TYPE).and_then(|mut kinds| kinds.pop());
        // TensorProto.DataType.
        let dtype = match kind {
            Some(1) => DType::F32,
            Some(10) => DType::F16,
            Some(11) => DType::F64,
            Some(16) => DType::BF16,
            Some(7) => DType::I64,
            Some(2) => DType::U8,
            _ => return Ok(()), // Not a weight: axes, masks, strings.
        };
        let span = Stored::span(dtype, &shape, None).ok_or_else(|| fault("is too large"))?;
        let inside = tensor.ranges(TENSOR_RAW_DATA).pop().or_else(|| match dtype {
            DType::F32 => tensor.ranges(TENSOR_FLOAT_DATA).pop(), // packed: little-endian floats, one run
            _ => None,
        });
        let external = tensor.ranges(TENSOR_EXTERNAL_DATA);
        let (file, bytes) = match (inside, external.is_empty()) {
            (Some(range), _) => (0, range),
            (None, false) => self
                .external(tensor.bytes, external, span)
                .ok_or_else(|| fault("has damaged external data"))?,
            (None, true) if span == 0 => (0, 0..0),
            (None, true) => return Ok(()), // Integers in a typed field: shapes and axes.
        };
        self.index.insert(name, Stored { dtype, float8: None, shape, strides: None, file, bytes });
        Ok(())
    }

    /// `location`, `offset` (default 0) and `length` (default: what the shape needs) of values in another file.
    fn external(
        &mut self,
        bytes: &[u8],
        entries: Vec<Range<usize>>,
        span: usize,
    ) -> Option<(usize, Range<usize>)> {
        let (mut location, mut offset, mut length) = (None, 0usize, span);
        for range in entries {
            let entry = Message { bytes, range };
            let (key, value) = (entry.texts(1).pop()?, entry.texts(2).pop()?);
            match key.as_str() {
                "location" => location = Some(value),
                "offset" => offset = value.parse().ok()?,
                "length" => length = value.parse().ok()?,
                _ => {}
            }
        }
        let location = location?;
        let next = self.files.len();
        let file = *self.places.entry(location).or_insert_with_key(|name| {
            self.files.push(name.clone());
            next
        });
        Some((file + 1, offset..offset.checked_add(length)?))
    }

    fn finish(mut self) -> Result<(Index, Vec<String>), String> {
        for (k, inputs) in self.convolutions.iter().enumerate() {
            for (name, role) in inputs.iter().zip(["weight", "bias"]) {
                if let Some(stored) = self.index.remove(name) {
                    self.index.insert(format!("conv.{k}.{role}"), stored);
                }
            }
        }
        if self.index.is_empty() {
            return Err("is neither safetensors, nor a torch file, nor ONNX with weights inside".to_owned());
        }
        Ok((self.index, self.files))
    }
}

/// A protobuf message: a range of the file.
struct Message<'a> {
    bytes: &'a [u8],
    range: Range<usize>,
}

enum Payload {
    Number(u64),
    Bytes(Range<usize>),
    /// A 32- or 64-bit fixed field, of no use here.
    Fixed,
}

impl Message<'_> {
    /// Field numbers and payloads; None where the encoding is broken, and then no more.
    fn fields(&self) -> impl Iterator<Item = Option<(u64, Payload)>> {
        let mut at = Some(self.range.start);
        std::iter::from_fn(move || {
            let start = at.filter(|start| *start < self.range.end)?;
            let field = self.field(start);
            at = field.as_ref().map(|(_, _, next)| *next);
            Some(field.map(|(number, payload, _)| (number, payload)))
        })
    }

    fn field(&self, at: usize) -> Option<(u64, Payload, usize)> {
        let (tag, at) = self.varint(at)?;
        let (payload, next) = match tag & 7 {
            0 => {
                let (value, next) = self.varint(at)?;
                (Payload::Number(value), next)
            }
            1 => (Payload::Fixed, at.checked_add(8)?),
            2 => {
                let (len, at) = self.varint(at)?;
                let end = at.checked_add(usize::try_from(len).ok()?)?;
                (Payload::Bytes(at..end), end)
            }
            5 => (Payload::Fixed, at.checked_add(4)?),
            _ => return None,
        };
        (next <= self.range.end).then_some((tag >> 3, payload, next))
    }

    fn varint(&self, mut at: usize) -> Option<(u64, usize)> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(at).filter(|_| at < self.range.end)?;
            at += 1;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some((value, at));
            }
        }
        None
    }

    fn ranges(&self, wanted: u64) -> Vec<Range<usize>> {
        let found = self.fields().flatten().filter(|(number, _)| *number == wanted);
        found
            .filter_map(|(_, payload)| match payload {
                Payload::Bytes(range) => Some(range),
                _ => None,
            })
            .collect()
    }

    fn texts(&self, wanted: u64) -> Vec<String> {
        self.ranges(wanted).into_iter().map(|range| self.text(range)).collect()
    }

    fn text(&self, range: Range<usize>) -> String {
        String::from_utf8_lossy(&self.bytes[range]).into_owned()
    }

    /// The integers of a repeated field, packed or not.
    fn numbers(&self, wanted: u64) -> Option<Vec<u64>> {
        let mut numbers = Vec::new();
        for (_, payload) in self.fields().flatten().filter(|(number, _)| *number == wanted) {
            match payload {
                Payload::Number(value) => numbers.push(value),
                Payload::Bytes(range) => {
                    let packed = Message { bytes: self.bytes, range };
                    let mut at = packed.range.start;
                    while at < packed.range.end {
                        let (value, next) = packed.varint(at)?;
                        numbers.push(value);
                        at = next;
                    }
                }
                Payload::Fixed => return None,
            }
        }
        Some(numbers)
    }
}

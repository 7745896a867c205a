//! CLIP's byte-pair tokenizer (Sennrich et al. 2016; Radford et al. 2021) and the chunks of 77 tokens encoders take.
//!
//! A word is repaired, lower-cased and split into contractions, runs of letters, single digits and runs of anything else;
//! each piece becomes bytes, and neighbouring symbols merge in order of rank. Ids: 256 bytes, 256 bytes that end a word,
//! the 48,894 merges, start and end of text.

use std::collections::HashMap;

use regex::Regex;

use super::{prompt, repair};
use crate::{Error, Result};

/// The merges of OpenAI's CLIP, the vocabulary of both encoders of SDXL.
const MERGES: &str = include_str!("../../data/clip_merges.txt");

/// Groups of at least this many tokens are split where a chunk ends; shorter ones move to the next chunk.
const LONG_WORD: usize = 8;

/// One encoder's input: ids and weights of equally long chunks.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    /// Token ids.
    pub ids: Vec<Vec<u32>>,
    /// A weight for every id; 1 for start, end and padding.
    pub weights: Vec<Vec<f64>>,
}

/// Text to token ids.
pub struct Tokenizer {
    pieces: Regex,
    byte_ids: [u32; 256],
    /// Pair of ids → id of their merge; lower ids merge first.
    merges: HashMap<(u32, u32), u32>,
    start: u32,
    end: u32,
}

impl Tokenizer {
    /// CLIP's tokenizer.
    ///
    /// # Errors
    /// Never, in practice: the vocabulary that is compiled in would have to be damaged.
    pub fn clip() -> Result<Self> {
        Self::from_merges(MERGES)
    }

    /// The tokenizer of a list of merges, one pair of symbols a line, in order of rank. A first line that begins with
    /// `#version` is skipped (the published `merges.txt`).
    ///
    /// # Errors
    /// Where a line is no pair of tokens.
    pub fn from_merges(text: &str) -> Result<Self> {
        let fault = |reason: String| Error::Config { network: "tokenizer", reason };
        let (byte_ids, byte_of_char) = byte_alphabet();
        let mut ids: HashMap<String, u32> = HashMap::new();
        for (c, byte) in &byte_of_char {
            let id = byte_ids[usize::from(*byte)];
            ids.insert(c.to_string(), id);
            ids.insert(format!("{c}</w>"), id + 256);
        }
        let mut merges = HashMap::new();
        let mut next = 512;
        for line in text.lines().filter(|line| !line.starts_with("#version") && !line.is_empty()) {
            let pair = line.split_once(' ').ok_or_else(|| fault(format!("merge `{line}` is not a pair")))?;
            let known = |symbol: &str| {
                ids.get(symbol)
                    .copied()
                    .ok_or_else(|| fault(format!("merge `{line}` uses an unknown symbol")))
            };
            merges.insert((known(pair.0)?, known(pair.1)?), next);
            ids.insert(format!("{}{}", pair.0, pair.1), next);
            next += 1;
        }
        let pieces =
            r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";
        let pieces = Regex::new(pieces).map_err(|error| fault(error.to_string()))?;
        Ok(Self { pieces, byte_ids, merges, start: next, end: next + 1 })
    }

    /// Id of the token that ends a text.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The tokens of a word or text, without start and end.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut rest = text;
        // Special tokens are taken out before repair could touch what is around them.
        while let Some((at, special, id)) = self.next_special(rest) {
            self.encode_plain(&rest[..at], &mut ids);
            ids.push(id);
            rest = &rest[at + special.len()..];
        }
        self.encode_plain(rest, &mut ids);
        ids
    }

    /// A weighted prompt as chunks of `length` tokens, padded with `pad`.
    pub fn chunks(&self, text: &str, length: usize, pad: u32) -> Tokens {
        let mut chunks = Chunks::new(length, self.start, self.end, pad);
        for segment in prompt::segments(text) {
            for word in prompt::words(&segment.text) {
                chunks.push(&self.encode(&word), segment.weight);
            }
        }
        chunks.finish()
    }

    /// The chunk of the empty prompt.
    pub fn empty(&self, length: usize, pad: u32) -> Vec<u32> {
        let mut ids = vec![self.start, self.end];
        ids.resize(length, pad);
        ids
    }

    fn next_special(&self, text: &str) -> Option<(usize, &'static str, u32)> {
        let specials = [("<|startoftext|>", self.start), ("<|endoftext|>", self.end)];
        let found = specials.into_iter().filter_map(|(name, id)| Some((text.find(name)?, name, id)));
        found.min_by_key(|(at, ..)| *at)
    }

    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) {
        let text = repair::repair(text);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        for piece in self.pieces.find_iter(&text) {
            match piece.as_str() {
                // Lower-casing can bring forth what was not special before.
                "<|startoftext|>" => ids.push(self.start),
                "<|endoftext|>" => ids.push(self.end),
                piece => ids.extend(self.merge(piece)),
            }
        }
    }

    /// Merges the bytes of a piece, lowest rank first.
    fn merge(&self, piece: &str) -> Vec<u32> {
        let mut symbols: Vec<u32> = piece.bytes().map(|byte| self.byte_ids[usize::from(byte)]).collect();
        if let Some(last) = symbols.last_mut() {
            *last += 256;
        }
        loop {
            let merged = symbols.windows(2).filter_map(|pair| self.merges.get(&(pair[0], pair[1]))).min();
            let Some(merged) = merged.copied() else { return symbols };
            let mut next = Vec::with_capacity(symbols.len());
            let mut i = 0;
            while i < symbols.len() {
                let pair = symbols.get(i + 1).and_then(|right| self.merges.get(&(symbols[i], *right)));
                let hit = pair == Some(&merged);
                next.push(if hit { merged } else { symbols[i] });
                i += if hit { 2 } else { 1 };
            }
            symbols = next;
        }
    }
}

/// GPT-2's printable stand-ins for bytes: ids by byte, and bytes by character.
fn byte_alphabet() -> ([u32; 256], HashMap<char, u8>) {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let shown = (0..=255u8).filter(printable).map(|byte| (byte, char::from(byte)));
    // The others, in order, borrow the characters from U+0100 on.
    let hidden = (0..=255u8).filter(|byte| !printable(byte)).zip('\u{100}'..);
    let mut ids = [0; 256];
    let mut chars = HashMap::new();
    for (id, (byte, c)) in (0..).zip(shown.chain(hidden)) {
        ids[usize::from(byte)] = id;
        chars.insert(c, byte);
    }
    (ids, chars)
}

/// Fills chunks with groups of tokens.
struct Chunks {
    length: usize,
    start: u32,
    end: u32,
    pad: u32,
    done: Tokens,
    ids: Vec<u32>,
    weights: Vec<f64>,
}

impl Chunks {
    fn new(length: usize, start: u32, end: u32, pad: u32) -> Self {
        let done = Tokens { ids: Vec::new(), weights: Vec::new() };
        Self { length, start, end, pad, done, ids: vec![start], weights: vec![1.0] }
    }

    fn push(&mut self, group: &[u32], weight: f64) {
        let mut group = group;
        let long = group.len() >= LONG_WORD;
        while !group.is_empty() {
            let room = self.length - self.ids.len() - 1; // One place is the end token's.
            let taken = if group.len() <= room {
                group.len()
            } else if long {
                room
            } else {
                0
            };
            self.ids.extend(&group[..taken]);
            self.weights.extend(std::iter::repeat_n(weight, taken));
            group = &group[taken..];
            if !group.is_empty() {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let mut ids = std::mem::replace(&mut self.ids, vec![self.start]);
        let mut weights = std::mem::replace(&mut self.weights, vec![1.0]);
        ids.push(self.end);
        ids.resize(self.length, self.pad);
        weights.resize(self.length, 1.0);
        self.done.ids.push(ids);
        self.done.weights.push(weights);
    }

    fn finish(mut self) -> Tokens {
        self.close();
        self.done
    }
}

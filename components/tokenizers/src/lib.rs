//! Hugging Face `tokenizers` for C: what src/text/hf.h declares.
//!
//! A tokenizer is opened from the text of a tokenizer.json and never changes,
//! so any number of threads may encode with one. Nothing unwinds into C: a
//! panic is an error with its text. Memory is Rust's and goes back through the
//! functions here; where none is left the process ends, as Rust decides.

use std::any::Any;
use std::ffi::{c_char, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::slice;

use tokenizers::{Encoding, Tokenizer};

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// An opened tokenizer: `cr_hf_tokenizer`.
pub struct Opened {
    tokenizer: Tokenizer,
    /// Texts of all ids, end to end; `ends[id]` is where one ends.
    texts: String,
    ends: Vec<usize>,
}

/// `cr_hf_facts`.
#[repr(C)]
pub struct Facts {
    n_specials: u32,
    cls_id: i32,
    sep_id: i32,
    n_ids: u32,
}

/// `cr_hf_tokens`: arrays belong to `owner`.
#[repr(C)]
pub struct Tokens {
    ids: *const u32,
    offsets: *const [u32; 2],
    n: usize,
    owner: *mut c_void,
}

struct Owned {
    ids: Vec<u32>,
    offsets: Vec<[u32; 2]>,
}

/// `cr_hf_text`.
#[repr(C)]
pub struct Text {
    data: *const c_char,
    len: usize,
    owner: *mut c_void,
}

/// `cr_hf_message`: room for why something failed.
#[repr(C)]
pub struct Message {
    data: *mut c_char,
    size: usize,
}

// ---- Faults ---------------------------------------------------------------

unsafe fn write_message(message: &Message, text: &str) {
    if message.size == 0 {
        return;
    }
    let mut n = text.len().min(message.size - 1);
    while !text.is_char_boundary(n) {
        n -= 1;
    }
    ptr::copy_nonoverlapping(text.as_ptr().cast(), message.data, n);
    *message.data.add(n) = 0;
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|s| s.to_string())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    format!("tokenizers panicked: {text}")
}

/// Runs `work`; false, with the reason in `message`, where it fails.
unsafe fn attempt<T>(message: &Message, work: impl FnOnce() -> Result<T, Fault>) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Some(value),
        Ok(Err(fault)) => {
            write_message(message, &fault.to_string());
            None
        }
        Err(payload) => {
            write_message(message, &panic_text(payload.as_ref()));
            None
        }
    }
}

/// Text as Python reads it with errors="replace".
unsafe fn text_of<'a>(data: *const c_char, len: usize) -> std::borrow::Cow<'a, str> {
    let bytes = if len == 0 {
        &[]
    } else {
        slice::from_raw_parts(data.cast(), len)
    };
    String::from_utf8_lossy(bytes)
}

// ---- Opening --------------------------------------------------------------

fn inner(e: &Encoding, sequence: usize) -> Vec<u32> {
    (0..e.len())
        .filter(|&i| {
            e.token_to_sequence(i) == Some(sequence) && e.get_special_tokens_mask()[i] == 0
        })
        .map(|i| e.get_ids()[i])
        .collect()
}

/// The pair's frame, found out by encoding: cls A sep B sep, or with two sep
/// in the middle.
fn frame(t: &Tokenizer, a: &str, b: &str) -> Result<(u32, u32, u32), Fault> {
    let alone =
        |text: &str| -> Result<Vec<u32>, Fault> { Ok(t.encode(text, false)?.get_ids().to_vec()) };
    let (first, second) = (alone(a)?, alone(b)?);
    let pair = t.encode((a, b), true)?;
    let ids = pair.get_ids();
    let n_specials = ids.len() - (first.len() + second.len()).min(ids.len());
    let refusal =
        "\"post_processor\" makes another pair than <s> A </s></s> B </s> or <s> A </s> B </s>";
    if !(3..=4).contains(&n_specials) {
        return Err(refusal.into());
    }
    let (cls, sep) = (ids[0], ids[ids.len() - 1]);
    let mut expected = vec![cls];
    expected.extend(&first);
    expected.extend(vec![sep; n_specials - 2]);
    expected.extend(&second);
    expected.push(sep);
    if ids != expected || inner(&pair, 0) != first || inner(&pair, 1) != second {
        return Err(refusal.into());
    }
    Ok((n_specials as u32, cls, sep))
}

fn open(json: &[u8]) -> Result<(Opened, Facts), Fault> {
    let mut tokenizer = Tokenizer::from_bytes(json)?;
    tokenizer.with_truncation(None)?;
    tokenizer.with_padding(None);
    let found = frame(&tokenizer, "a", "b c")?;
    if found != frame(&tokenizer, "", "x")? {
        return Err("\"post_processor\" depends on the text".into());
    }
    let n_ids = tokenizer
        .get_vocab(true)
        .values()
        .max()
        .map_or(0, |id| *id as usize + 1);
    let (mut texts, mut ends) = (String::new(), Vec::with_capacity(n_ids));
    for id in 0..n_ids {
        texts.push_str(&tokenizer.id_to_token(id as u32).unwrap_or_default());
        ends.push(texts.len());
    }
    let facts = Facts {
        n_specials: found.0,
        cls_id: i32::try_from(found.1)?,
        sep_id: i32::try_from(found.2)?,
        n_ids: u32::try_from(n_ids)?,
    };
    Ok((
        Opened {
            tokenizer,
            texts,
            ends,
        },
        facts,
    ))
}

/// # Safety
/// `json` has `len` bytes; `facts` and `message` can be written.
#[no_mangle]
pub unsafe extern "C" fn crossrank_hf_open(
    json: *const c_char,
    len: usize,
    facts: *mut Facts,
    message: &Message,
) -> *mut Opened {
    let bytes = slice::from_raw_parts(json.cast::<u8>(), len);
    match attempt(message, || open(bytes)) {
        Some((opened, found)) => {
            *facts = found;
            Box::into_raw(Box::new(opened))
        }
        None => ptr::null_mut(),
    }
}

/// # Safety
/// `opened` is of `crossrank_hf_open` and is not used again.
#[no_mangle]
pub unsafe extern "C" fn crossrank_hf_close(opened: *mut Opened) {
    if !opened.is_null() {
        drop(Box::from_raw(opened));
    }
}

// ---- Texts and ids ----------------------------------------------------------

/// # Safety
/// `text` has `len` bytes; `tokens` and `message` can be written.
#[no_mangle]
pub unsafe extern "C" fn crossrank_hf_encode(
    opened: &Opened,
    text: *const c_char,
    len: usize,
    tokens: *mut Tokens,
    message: &Message,
) -> bool {
    let text = text_of(text, len);
    let encoded = attempt(message, || {
        opened.tokenizer.encode_char_offsets(text.as_ref(), false)
    });
    let Some(encoding) = encoded else {
        return false;
    };
    let owned = Box::new(Owned {
        ids: encoding.get_ids().to_vec(),
        offsets: encoding
            .get_offsets()
            .iter()
            .map(|&(begin, end)| [begin as u32, end as u32])
            .collect(),
    });
    *tokens = Tokens {
        ids: owned.ids.as_ptr(),
        offsets: owned.offsets.as_ptr(),
        n: owned.ids.len(),
        owner: Box::into_raw(owned).cast(),
    };
    true
}

/// # Safety
/// `tokens` is of `crossrank_hf_encode` and is not used again.
#[no_mangle]
pub unsafe extern "C" fn crossrank_hf_free_tokens(tokens: &Tokens) {
    drop(Box::from_raw(tokens.owner.cast::<Owned>()));
}

/// The text of an id, empty where there is none; lives as long as `opened`.
#[no_mangle]
pub extern "C" fn crossrank_hf_token(opened: &Opened, id: i32) -> Text {
    let text = usize::try_from(id)
        .ok()
        .filter(|&id| id < opened.ends.len())
        .map_or("", |id| {
            let begin = if id == 0 { 0 } else { opened.ends[id - 1] };
            &opened.texts[begin..opened.ends[id]]
        });
    Text {
        data: text.as_ptr().cast(),
        len: text.len(),
        owner: ptr::null_mut(),
    }
}

/// # Safety
/// `text` has `len` bytes.
#[no_mangle]
pub unsafe extern "C" fn crossrank_hf_find(
    opened: &Opened,
    text: *const c_char,
    len: usize,
) -> i32 {
    let id = opened.tokenizer.token_to_id(&text_of(text, len));
    id.and_then(|id| i32::try_from(id).ok()).unwrap_or(-1)
}

/// # Safety
/// `ids` has `n` elements; `text` and `message` can be written.
#[no_mangle]
pub unsafe extern "C" fn crossrank_hf_decode(
    opened: &Opened,
    ids: *const u32,
    n: usize,
    skip_specials: bool,
    text: *mut Text,
    message: &Message,
) -> bool {
    let ids = if n == 0 {
        &[]
    } else {
        slice::from_raw_parts(ids, n)
    };
    let decoded = attempt(message, || opened.tokenizer.decode(ids, skip_specials));
    let Some(decoded) = decoded else {
        return false;
    };
    let owned = Box::new(decoded);
    *text = Text {
        data: owned.as_ptr().cast(),
        len: owned.len(),
        owner: Box::into_raw(owned).cast(),
    };
    true
}

/// # Safety
/// `text` is of `crossrank_hf_decode` and is not used again.
#[no_mangle]
pub unsafe extern "C" fn crossrank_hf_free_text(text: &Text) {
    drop(Box::from_raw(text.owner.cast::<String>()));
}

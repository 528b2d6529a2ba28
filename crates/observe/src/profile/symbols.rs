//! Names of functions by their addresses in this process, from the symbol tables of the program and its libraries. Read when a profile
//! is named and forgotten afterwards; debug information is not looked at, so inlined functions count for those that hold them.

use object::{Object, ObjectSegment, ObjectSymbol, SymbolKind};
use std::collections::HashMap;
use std::fs;
use std::ops::Range;

/// A part of a file that is mapped as code.
struct Mapping {
    addresses: Range<usize>,
    /// In the file, of the first address.
    offset: usize,
    path: String,
}

/// Functions of one file by where they begin, as the file counts.
#[derive(Default)]
struct Functions {
    /// Address where a part of the file lies, and the part.
    segments: Vec<(u64, Range<u64>)>,
    all: Vec<(u64, String)>,
}

pub struct Symbols {
    mappings: Vec<Mapping>,
    files: HashMap<String, Functions>,
}

impl Symbols {
    pub fn of_this_process() -> Self {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Self { mappings: maps.lines().filter_map(mapping).collect(), files: HashMap::new() }
    }

    /// The function that an address lies in, or the file, or the address.
    pub fn name(&mut self, address: usize) -> String {
        let Some(mapping) = self.mappings.iter().find(|mapping| mapping.addresses.contains(&address)) else { return format!("{address:#x}") };
        let offset = (address - mapping.addresses.start + mapping.offset) as u64;
        let functions = self.files.entry(mapping.path.clone()).or_insert_with(|| functions(&mapping.path));
        let file = || mapping.path.rsplit('/').next().unwrap_or_default();
        functions.at(offset).map_or_else(|| format!("[{}]", file()), str::to_owned)
    }
}

/// `7f00-7f10 r-xp 00001000 08:01 42  /usr/bin/taut` (proc(5)); only code.
fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.split_whitespace();
    let (addresses, rights, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let path = fields.nth(2)?.to_owned();
    let (start, end) = addresses.split_once('-')?;
    let number = |text: &str| usize::from_str_radix(text, 16).ok();
    rights.contains('x').then_some(Mapping { addresses: number(start)?..number(end)?, offset: number(offset)?, path })
}

fn functions(path: &str) -> Functions {
    // A program that was replaced while it runs is still there under this name.
    let own = fs::read_link("/proc/self/exe").is_ok_and(|exe| exe.to_string_lossy().starts_with(path));
    let Ok(bytes) = fs::read(if own { "/proc/self/exe" } else { path }) else { return Functions::default() };
    let Ok(file) = object::File::parse(&*bytes) else { return Functions::default() };
    let segments = file.segments().map(|segment| {
        let (offset, size) = segment.file_range();
        (segment.address(), offset..offset.saturating_add(size))
    });
    let is_function = |symbol: &object::Symbol<'_, '_>| symbol.kind() == SymbolKind::Text && symbol.address() > 0;
    let named = |symbol: object::Symbol<'_, '_>| Some((symbol.address(), format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?))));
    let mut all: Vec<(u64, String)> = file.symbols().chain(file.dynamic_symbols()).filter(is_function).filter_map(named).collect();
    all.sort();
    all.dedup_by_key(|(address, _)| *address);
    Functions { segments: segments.collect(), all }
}

impl Functions {
    fn at(&self, offset: u64) -> Option<&str> {
        let (address, part) = self.segments.iter().find(|(_, part)| part.contains(&offset))?;
        let address = address + (offset - part.start);
        let after = self.all.partition_point(|(begin, _)| *begin <= address);
        self.all.get(after.checked_sub(1)?).map(|(_, name)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn a_function_of_this_test() -> u32 {
        std::hint::black_box(7)
    }

    #[test]
    fn a_function_has_its_name() {
        let mut symbols = Symbols::of_this_process();
        assert_eq!(a_function_of_this_test(), 7);
        let name = symbols.name(a_function_of_this_test as *const () as usize);
        assert!(name.ends_with("tests::a_function_of_this_test"), "{name}");
        assert_eq!(symbols.name(16), "0x10");
    }
}

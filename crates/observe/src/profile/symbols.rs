//! Names of functions by their addresses in this process, from the symbol tables of the program and its libraries. Read when a profile
//! is named and forgotten afterwards; debug information is not looked at, so inlined functions count for those that hold them.

use object::read::ReadCache;
use object::{Object, ObjectSegment, ObjectSymbol, SymbolKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Range;

/// A part of a file that is mapped as code.
struct Mapping {
    addresses: Range<usize>,
    /// In the file, of the first address.
    offset: usize,
    path: String,
}

/// What to call each address: the function it lies in, or the file, or the address itself.
pub fn names(addresses: &BTreeSet<usize>) -> BTreeMap<usize, String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mappings: Vec<Mapping> = maps.lines().filter_map(mapping).collect();
    let mut names: BTreeMap<usize, String> = addresses.iter().map(|address| (*address, format!("{address:#x}"))).collect();
    let mut files: BTreeMap<&str, Vec<(usize, u64)>> = BTreeMap::new();
    for address in addresses {
        if let Some(mapping) = mappings.iter().find(|mapping| mapping.addresses.contains(address)) {
            let offset = address - mapping.addresses.start + mapping.offset;
            files.entry(&mapping.path).or_default().push((*address, offset as u64));
            names.insert(*address, format!("[{}]", mapping.path.rsplit('/').next().unwrap_or_default()));
        }
    }
    for (path, wanted) in files {
        names.extend(functions(path, &wanted).unwrap_or_default());
    }
    names
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

/// The functions of a file at places in it, by address. Only its tables are read, and only what is wanted is made readable.
fn functions(path: &str, wanted: &[(usize, u64)]) -> Option<Vec<(usize, String)>> {
    // A program that was replaced while it runs is still there under this name.
    let own = fs::read_link("/proc/self/exe").is_ok_and(|exe| exe.to_string_lossy().starts_with(path));
    let cache = ReadCache::new(File::open(if own { "/proc/self/exe" } else { path }).ok()?);
    let file = object::File::parse(&cache).ok()?;
    let parts: Vec<(u64, (u64, u64))> = file.segments().map(|segment| (segment.address(), segment.file_range())).collect();
    let symbols = file.symbols().chain(file.dynamic_symbols());
    let mut begins: Vec<_> = symbols.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.address() > 0).collect();
    begins.sort_unstable_by_key(|symbol| symbol.address());
    let function = |offset: u64| {
        let inside = |(_, (start, size)): &&(u64, (u64, u64))| (*start..start.saturating_add(*size)).contains(&offset);
        let (address, (start, _)) = parts.iter().find(inside)?;
        let address = address + (offset - start);
        let after = begins.partition_point(|symbol| symbol.address() <= address);
        let name = begins.get(after.checked_sub(1)?)?.name().ok()?;
        Some(format!("{:#}", rustc_demangle::demangle(name)))
    };
    Some(wanted.iter().filter_map(|(address, offset)| Some((*address, function(*offset)?))).collect())
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
        let address = a_function_of_this_test as *const () as usize;
        assert_eq!(a_function_of_this_test(), 7);
        let names = names(&BTreeSet::from([16, address]));
        assert!(names[&address].ends_with("tests::a_function_of_this_test"), "{names:?}");
        assert_eq!(names[&16], "0x10");
    }
}

//! The ratchet: files over 600 lines and functions over 70 are listed by name, and the list may only shrink.

use super::{SourceFile, Untidy};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use syn::spanned::Spanned;
use syn::visit::Visit;

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
const LIST: &str = "xtask/tidy.ratchet";

pub fn check(root: &Path, files: &[SourceFile], update: bool) -> Result<Vec<Untidy>, String> {
    let found = too_long(files);
    let text = fs::read_to_string(root.join(LIST)).map_err(|e| format!("cannot read {LIST}: {e}"))?;
    let allowed = parse(&text)?;
    let mut untidy = Vec::new();
    for (name, lines) in &found {
        match allowed.get(name) {
            None => {
                untidy.push(Untidy::new(name, format!("{lines} lines: at most {FILE_LINES} for a file, {FUNCTION_LINES} for a function; split it")))
            }
            Some(limit) if lines > limit => {
                untidy.push(Untidy::new(name, format!("{lines} lines, and the ratchet stands at {limit}: it may only shrink")))
            }
            Some(limit) if lines < limit && !update => {
                untidy.push(Untidy::new(name, format!("{lines} lines now: lower the ratchet with `cargo xtask tidy --update`")));
            }
            Some(_) => {}
        }
    }
    for name in allowed.keys().filter(|name| !found.contains_key(*name) && !update) {
        untidy.push(Untidy::new(name, "not too long any more: take it off the list with `cargo xtask tidy --update`"));
    }
    if update && untidy.is_empty() {
        let head = text.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n"));
        let list = found.iter().map(|(name, lines)| format!("{lines} {name}\n"));
        fs::write(root.join(LIST), head.chain(list).collect::<String>()).map_err(|e| format!("cannot write {LIST}: {e}"))?;
    }
    Ok(untidy)
}

fn parse(text: &str) -> Result<BTreeMap<String, usize>, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let (count, name) = line.split_once(' ').ok_or_else(|| format!("{LIST}: {line:?}: expected LINES NAME"))?;
            Ok((name.to_owned(), count.parse().map_err(|_| format!("{LIST}: {line:?}: expected LINES NAME"))?))
        })
        .collect()
}

fn too_long(files: &[SourceFile]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for file in files.iter().filter(|f| !f.generated) {
        let lines = file.text.lines().count();
        if lines > FILE_LINES {
            found.insert(file.path.clone(), lines);
        }
        let mut functions = Functions { path: &file.path, found: &mut found };
        functions.visit_file(&file.syntax);
    }
    found
}

struct Functions<'a> {
    path: &'a str,
    found: &'a mut BTreeMap<String, usize>,
}

impl Functions<'_> {
    fn measure(&mut self, name: &syn::Ident, span: proc_macro2::Span) {
        let lines = span.end().line - span.start().line + 1;
        if lines > FUNCTION_LINES {
            self.found.insert(format!("{}::{name}", self.path), lines);
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig.ident, item.block.span());
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig.ident, item.block.span());
        syn::visit::visit_impl_item_fn(self, item);
    }
}

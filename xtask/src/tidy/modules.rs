//! No cycles in the module graph of a crate, at the level of its top modules.

use super::{SourceFile, Untidy};
use std::collections::{BTreeMap, BTreeSet};
use syn::visit::Visit;

type Graph = BTreeMap<String, BTreeSet<String>>;

pub fn check(files: &[SourceFile]) -> Vec<Untidy> {
    let mut crates: BTreeMap<String, Graph> = BTreeMap::new();
    for file in files.iter().filter(|f| !f.generated) {
        let Some((owner, module)) = top_module(&file.path) else { continue };
        let mut used = Used::default();
        used.visit_file(&file.syntax);
        let edges = crates.entry(owner).or_default().entry(module.clone()).or_default();
        edges.extend(used.modules.into_iter().filter(|name| *name != module));
    }
    crates
        .iter()
        .filter_map(|(owner, graph)| {
            let cycle = cycle(graph)?;
            Some(Untidy::new(owner, format!("modules import each other in a circle: {}", cycle.join(" -> "))))
        })
        .collect()
}

/// `crates/proxy/src/sync/ads.rs` -> (`crates/proxy/src`, `sync`). The crate's root, its binary and integration tests stand above the graph.
fn top_module(path: &str) -> Option<(String, String)> {
    let at = path.find("/src/")? + "/src".len();
    let module = path[at + 1..].split('/').next()?.trim_end_matches(".rs");
    (!matches!(module, "lib" | "main" | "bin")).then(|| (path[..at].to_owned(), module.to_owned()))
}

/// First segments of `crate::…` paths outside of tests.
#[derive(Default)]
struct Used {
    modules: BTreeSet<String>,
}

impl Visit<'_> for Used {
    fn visit_item_mod(&mut self, module: &syn::ItemMod) {
        if !is_test(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if let syn::UseTree::Path(path) = &item.tree
            && path.ident == "crate"
        {
            first_names(&path.tree, &mut self.modules);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let mut segments = path.segments.iter();
        if let (Some(first), Some(second), Some(_)) = (segments.next(), segments.next(), segments.next())
            && first.ident == "crate"
        {
            self.modules.insert(second.ident.to_string());
        }
        syn::visit::visit_path(self, path);
    }
}

fn first_names(tree: &syn::UseTree, names: &mut BTreeSet<String>) {
    match tree {
        syn::UseTree::Path(path) => {
            names.insert(path.ident.to_string());
        }
        syn::UseTree::Group(group) => group.items.iter().for_each(|item| first_names(item, names)),
        // `use crate::Thing`: something of the crate's root, above the graph.
        _ => {}
    }
}

pub fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|a| a.path().is_ident("test") || (a.path().is_ident("cfg") && quote_contains(a, "test")))
}

fn quote_contains(attribute: &syn::Attribute, word: &str) -> bool {
    match &attribute.meta {
        syn::Meta::List(list) => list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|w| w == word),
        _ => false,
    }
}

/// Some circle in the graph, first node repeated at the end.
fn cycle(graph: &Graph) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| walk(graph, start, &mut Vec::new(), &mut done))
}

fn walk(graph: &Graph, at: &str, path: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
    if let Some(start) = path.iter().position(|seen| seen == at) {
        return Some(path[start..].iter().cloned().chain([at.to_owned()]).collect());
    }
    if !done.insert(at.to_owned()) {
        return None;
    }
    path.push(at.to_owned());
    let found = graph.get(at).into_iter().flatten().find_map(|next| walk(graph, next, path, done));
    path.pop();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found() {
        let graph = |edges: &[(&str, &str)]| {
            edges.iter().fold(Graph::new(), |mut graph, (from, to)| {
                graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
                graph
            })
        };
        assert_eq!(cycle(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
        assert_eq!(cycle(&graph(&[("a", "b"), ("b", "c"), ("c", "b")])).unwrap(), ["b", "c", "b"]);
    }
}

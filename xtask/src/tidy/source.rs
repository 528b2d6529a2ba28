//! Rules about single files: the opening sentence, biased selects, no sleep in tests, no unexplained panic, metric names in one place.

use super::modules::is_test;
use super::{SourceFile, Untidy};
use proc_macro2::{TokenStream, TokenTree};
use std::path::Path;
use syn::spanned::Spanned;
use syn::visit::Visit;

pub fn check(file: &SourceFile) -> Vec<Untidy> {
    let mut untidy = Vec::new();
    if !file.text.starts_with("//! ") {
        untidy.push(Untidy::new(format!("{}:1", file.path), "a file opens with one `//!` sentence that says what it owns"));
    }
    let test_file = file.path.contains("/tests/") || Path::new(&file.path).file_stem().is_some_and(|s| s.to_string_lossy().ends_with("tests"));
    let pure = ["crates/model/src", "crates/plan/src"].iter().any(|p| file.path.starts_with(p));
    let mut rules = Rules { file, in_test: test_file, excused: false, pure, untidy };
    rules.visit_file(&file.syntax);
    rules.untidy
}

struct Rules<'a> {
    file: &'a SourceFile,
    in_test: bool,
    /// Inside an item with `#[expect(clippy::…, reason = …)]`.
    excused: bool,
    pure: bool,
    untidy: Vec<Untidy>,
}

impl Rules<'_> {
    fn report(&mut self, span: proc_macro2::Span, what: &str) {
        self.untidy.push(Untidy::new(format!("{}:{}", self.file.path, span.start().line), what));
    }

    fn inside(&mut self, attributes: &[syn::Attribute], visit: impl FnOnce(&mut Self)) {
        let before = (self.in_test, self.excused);
        self.in_test |= is_test(attributes) || attributes.iter().any(|a| a.path().segments.last().is_some_and(|s| s.ident == "test"));
        self.excused |= attributes.iter().any(|a| a.path().is_ident("expect"));
        visit(self);
        (self.in_test, self.excused) = before;
    }
}

impl<'ast> Visit<'ast> for Rules<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.inside(&item.attrs, |this| syn::visit::visit_item_mod(this, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if self.pure && item.sig.asyncness.is_some() {
            self.report(item.sig.span(), "model and plan are pure: no async fn");
        }
        self.inside(&item.attrs, |this| syn::visit::visit_item_fn(this, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.inside(&item.attrs, |this| syn::visit::visit_item_impl(this, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.inside(&item.attrs, |this| syn::visit::visit_impl_item_fn(this, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.inside(&item.attrs, |this| syn::visit::visit_item_static(this, item));
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let panics = call.method == "unwrap" || call.method == "expect";
        if panics && !self.in_test && !self.excused && call.args.len() == usize::from(call.method == "expect") {
            self.report(call.method.span(), "no unwrap or expect outside tests without #[expect(clippy::…, reason = …)]");
        }
        syn::visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(path) = &*call.func {
            let words: Vec<String> = path.path.segments.iter().map(|s| s.ident.to_string()).collect();
            let ends = |tail: &[&str]| words.len() >= tail.len() && words[words.len() - tail.len()..].iter().zip(tail).all(|(a, b)| a == b);
            if self.in_test && (ends(&["time", "sleep"]) || ends(&["thread", "sleep"])) && !self.file.text.contains("//! Sleeps ") {
                self.report(call.span(), "no sleep in tests: wait for a condition with a deadline");
            }
            if self.pure && !self.in_test && (ends(&["Instant", "now"]) || ends(&["SystemTime", "now"])) {
                self.report(call.span(), "model and plan are pure: time is passed in");
            }
        }
        syn::visit::visit_expr_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.segments.last().is_some_and(|s| s.ident == "select") && !starts_with_biased(&call.tokens) {
            self.report(call.span(), "every select! is biased, so that a simulation repeats");
        }
        syn::visit::visit_macro(self, call);
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        let value = text.value();
        let metric = ["istio_", "taut_"].iter().any(|p| value.strip_prefix(p).is_some_and(|rest| rest.contains('_') && rest.bytes().all(is_name)));
        let elsewhere = !self.file.path.starts_with("crates/observe/src") && !self.in_test && !self.file.path.starts_with("xtask");
        if metric && elsewhere {
            self.report(text.span(), "metric names live in observe/names");
        }
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

fn starts_with_biased(tokens: &TokenStream) -> bool {
    matches!(tokens.clone().into_iter().next(), Some(TokenTree::Ident(first)) if first == "biased")
}

/** A small YAML editor: CodeMirror's core, in a shadow root, because its styles may not be inline in the page. */

import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { yaml } from '@codemirror/lang-yaml';
import { bracketMatching, foldGutter, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from '@codemirror/language';
import { lintGutter, setDiagnostics, type Diagnostic } from '@codemirror/lint';
import { EditorState } from '@codemirror/state';
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import type { Planned } from '../api/shapes.ts';

const colours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: 'var(--series-1)' },
  { tag: [tags.string, tags.content, tags.attributeValue], color: 'var(--text)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--series-2)' },
  { tag: [tags.comment], color: 'var(--faint)', fontStyle: 'italic' },
  { tag: [tags.punctuation, tags.separator, tags.meta], color: 'var(--faint)' },
]);

const look = EditorView.theme({
  '&': { height: '100%', backgroundColor: 'var(--surface)', color: 'var(--text)', fontSize: '12.5px' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.6' },
  '.cm-gutters': { backgroundColor: 'var(--surface)', color: 'var(--faint)', border: 'none' },
  '.cm-activeLine, .cm-activeLineGutter': { backgroundColor: 'var(--hover)' },
  '.cm-cursor': { borderLeftColor: 'var(--accent)', borderLeftWidth: '2px' },
  '&.cm-focused': { outline: 'none' },
  '.cm-selectionBackground, &.cm-focused .cm-selectionBackground': { backgroundColor: 'var(--accent-soft) !important' },
  '.cm-tooltip': { backgroundColor: 'var(--raised)', color: 'var(--text)', border: '1px solid var(--line)', borderRadius: '7px' },
  '.cm-diagnostic': { fontFamily: 'var(--sans)', padding: '5px 10px' },
  '.cm-foldPlaceholder': { backgroundColor: 'var(--sunken)', border: 'none', color: 'var(--faint)' },
});

export interface Editor {
  text(): string;
  load(text: string): void;
  mark(problems: Planned['problems']): void;
  focus(line?: number): void;
  end(): void;
}

export interface Wishes {
  text: string;
  changed: (text: string) => void;
  /** Ctrl+Enter. */
  done: () => void;
}

export function editor(host: HTMLElement, { text, changed, done }: Wishes): Editor {
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' });
  const view = new EditorView({ root, parent: root as unknown as Element, state: state(text, changed, done) });
  return {
    text: () => view.state.doc.toString(),
    load: (next) => view.setState(state(next, changed, done)),
    mark: (problems) => view.dispatch(setDiagnostics(view.state, diagnostics(view.state, problems))),
    focus: (line) => {
      if (line !== undefined && line >= 1 && line <= view.state.doc.lines) {
        const at = view.state.doc.line(line).from;
        view.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: 'center' }) });
      }
      view.focus();
    },
    end: () => view.destroy(),
  };
}

function state(text: string, changed: (text: string) => void, done: () => void): EditorState {
  return EditorState.create({
    doc: text,
    extensions: [
      lineNumbers(),
      foldGutter(),
      lintGutter(),
      history(),
      drawSelection(),
      highlightActiveLine(),
      indentOnInput(),
      bracketMatching(),
      indentUnit.of('  '),
      EditorState.tabSize.of(2),
      yaml(),
      syntaxHighlighting(colours),
      look,
      EditorView.contentAttributes.of({ 'aria-label': 'YAML' }),
      keymap.of([{ key: 'Mod-Enter', run: () => (done(), true) }, ...defaultKeymap, ...historyKeymap, indentWithTab]),
      EditorView.updateListener.of((update) => {
        if (update.docChanged) changed(update.state.doc.toString());
      }),
    ],
  });
}

function diagnostics(of: EditorState, problems: Planned['problems']): Diagnostic[] {
  return problems.map((problem) => {
    const line = of.doc.line(Math.min(Math.max(1, problem.line ?? 1), of.doc.lines));
    const from = Math.min(line.to, line.from + Math.max(0, (problem.column ?? 1) - 1));
    const message = problem.hint === null || problem.hint === undefined ? problem.message : `${problem.message}\n${problem.hint}`;
    return { from, to: Math.max(from, line.to), severity: problem.severity === 'warning' ? 'warning' : 'error', message };
  });
}

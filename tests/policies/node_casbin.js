// Casbin's JavaScript implementation, deciding what it is handed. It runs beside its node_modules.
//
// Each line of the input is one policy: {"model": text, "roles": {"g": [[from, to], …], …},
// "cases": [{"rules": [[…], …], "request": […]}, …]}; its answer is one line, a list of
// [permitted, explained rule], in the order of the cases.

"use strict";

const readline = require("node:readline");
const { newEnforcer, newModelFromString } = require("casbin");

async function answers(policy) {
  const enforcer = await newEnforcer(newModelFromString(policy.model));
  for (const [kind, links] of Object.entries(policy.roles)) {
    if (links.length && !(await enforcer.addNamedGroupingPolicies(kind, links))) {
      throw new Error(`the links of ${kind} were not taken`);
    }
  }
  const decided = [];
  for (const { rules, request } of policy.cases) {
    const before = enforcer.getModel().getPolicy("p", "p");
    if (before.length && !(await enforcer.removePolicies(before))) {
      throw new Error("the rules before were not forgotten");
    }
    if (rules.length && !(await enforcer.addPolicies(rules))) {
      throw new Error("the rules were not taken");
    }
    decided.push(await enforcer.enforceEx(...request));
  }
  return decided;
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await answers(JSON.parse(line))) + "\n");
  }
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});

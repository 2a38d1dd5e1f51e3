// A whole agent in JavaScript, for the tests: it logs, asks a model, writes a note and answers.

import { line } from 'homeaiops:agent/log@0.1.0';
import { complete } from 'homeaiops:agent/model@0.1.0';
import { write } from 'homeaiops:agent/vault@0.1.0';

export const agent = {
  describe() {
    return {
      id: 'js-greeter',
      name: 'JavaScript greeter',
      emoji: '☕',
      version: '0.1.0',
      purpose: 'Greets in a note, to show that an agent can be written in JavaScript.',
      mode: 'executor',
      localOnly: false,
      classFloor: 'a',
      wants: {
        models: ['local-p40'],
        tools: [],
        vaultRead: [],
        vaultWrite: ['inbox/drafts/note-*.md'],
        memory: 'none',
        approvals: false,
        handoff: [],
      },
      limits: {
        memoryMib: 128,
        cpuMs: 5000,
        wallS: 120,
        hostCalls: 10,
        outputTokens: 200n,
        usdMicros: 0n,
        journalKib: 256,
        logKib: 16,
      },
      persona: 'You greet people in one short sentence.',
      examples: ['greet the new neighbour'],
      extra: [],
    };
  },

  handle(brief) {
    try {
      return greet(brief.task);
    } catch (refused) {
      // A host's error arrives as the payload of what is thrown; anything else is a bug of ours.
      if (refused.payload === undefined) throw refused;
      return answer(`refused: ${said(refused.payload)}`, []);
    }
  },
};

function greet(task) {
  line('info', 'greeting', [['task', task.id]]);
  const reply = complete(question(task.content));
  const path = `inbox/drafts/note-${task.id}.md`;
  write(path, [['kind', 'greeting']], `${reply.text}\n`);
  return answer(`js says: ${reply.text}`, [path]);
}

function question(text) {
  return {
    group: 'local-p40',
    messages: [{ role: 'user', text, calls: [], answers: undefined }],
    tools: [],
    schema: undefined,
    temperature: undefined,
    maxOutputTokens: 50,
    extra: [],
  };
}

function answer(text, wrote) {
  return { tag: 'answer', val: { text, data: undefined, citations: [], wrote } };
}

/** The rule of a denial; of any other error its text. */
function said(error) {
  return error.tag === 'denied' ? error.val.rule : error.val;
}

#!/usr/bin/node
// A whole Rockstar plugin with nothing but @grpc/grpc-js and @grpc/proto-loader: the host calls Plugin, the plugin calls
// PluginContext. GET /stock/report is answered with what each method of the plugin context said, GET /stock/hello/NAME by
// a route.
'use strict';

const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { promisify } = require('node:util');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

const DIRECTORY = process.env.ROCKSTAR_PLUGIN_DIR;
const NAME = process.env.ROCKSTAR_PLUGIN_NAME;
const MANIFEST = JSON.parse(readFileSync(join(DIRECTORY, 'plugin.json'), 'utf8'));
const PROTOCOL = 1;
const DEADLINE = 5_000; // milliseconds; no call to the host goes without one
const METHODS = [
  'Name', 'Version', 'Description', 'Author', 'Dependencies',
  'Initialize', 'Start', 'Stop', 'Cleanup', 'ConfigSchema', 'OnConfigChange',
];

const PROTO = join(DIRECTORY, 'proto');
const FILE = 'rockstar/plugin/v1/plugin.proto';
const { rockstar } = grpc.loadPackageDefinition(
  loader.loadSync(FILE, { includeDirs: [PROTO], keepCase: true, longs: Number, enums: String, oneofs: true }),
);
const { Plugin, PluginContext } = rockstar.plugin.v1;

// Values travel encoded inside of fields of type bytes.
const root = new protobuf.Root();
root.resolvePath = (_, target) => join(PROTO, target);
const Value = root.loadSync(FILE, { keepCase: true }).lookupType('rockstar.types.v1.Value');
const text = (value) => Value.encode({ text: value }).finish();
const decoded = (value) => Value.decode(value);

const host = new PluginContext(`unix:${process.env.ROCKSTAR_HOST_SOCKET}`, grpc.credentials.createInsecure());
const deadline = () => ({ deadline: Date.now() + DEADLINE });

/** One unary call to the host; a failure in its answer is thrown with the host's own text. */
async function ask(method, message, metadata = new grpc.Metadata()) {
  const answer = await promisify(host[method].bind(host))(message, metadata, deadline());
  if (answer.failure) throw new Refused(answer.failure.text);
  return answer;
}

class Refused extends Error {}

let greeting = '';
const heard = [];
let hear = (ping) => heard.push(ping);

const returned = (error) => ({ class: 'CLASS_RETURNED', text: error.details ?? error.message });

// What the host calls.

async function initialize(config) {
  greeting = config.values.values.greeting.text;
  const registrations = [
    { kind: 'KIND_HOOK', name: 'pre_request', handler: 'hook', priority: 150 },
    { kind: 'KIND_MIDDLEWARE', name: 'sign', handler: 'sign', routes: ['/stock/*'] },
    { kind: 'KIND_ROUTE', method: 'GET', routes: ['/stock/hello/:name'], handler: 'hello' },
    { kind: 'KIND_SUBSCRIPTION', name: 'stock.ping', handler: 'heard' },
    { kind: 'KIND_SERVICE', name: 'Greeter', handler: 'greet' },
  ];
  for (const registration of registrations) {
    await register(registration).catch((error) => {
      if (error.code !== grpc.status.UNIMPLEMENTED) throw error;
      log(`going on without: ${error.details}`); // an older host
    });
  }
  log('Plugin initialized');
}

const register = (registration) => ask('Register', registration);

/** A lifecycle method: what it throws is its failure. */
const lifecycle = (method) => async (call, answer) => {
  try {
    await method(call.request);
    answer(null, {});
  } catch (error) {
    answer(null, { failure: returned(error) });
  }
};

const service = {
  Describe(call, answer) {
    if (!call.request.protocols.includes(PROTOCOL)) {
      return answer({ code: grpc.status.FAILED_PRECONDITION, details: `the plugin speaks protocol ${PROTOCOL}` });
    }
    const { version, description, author } = MANIFEST;
    answer(null, { protocol: PROTOCOL, name: NAME, version, description, author, methods: METHODS });
  },
  Initialize: lifecycle(initialize),
  Start: lifecycle(() => {}),
  Stop: lifecycle(() => {}),
  Cleanup: lifecycle(() => {}),
  OnConfigChange: lifecycle((config) => {
    greeting = config.values.values.greeting.text;
  }),
  Ping: (_, answer) => answer(null, {}),
  async Handle({ request: call }, answer) {
    const id = call.id;
    if (!Object.hasOwn(handlers, call.handler)) {
      return answer(null, { id, failure: { class: 'CLASS_NOT_FOUND', text: `no handler '${call.handler}'` } });
    }
    try {
      answer(null, { id, ...(await handlers[call.handler](call)) });
    } catch (error) {
      answer(null, { id, failure: returned(error) });
    }
  },
};

// The handlers, by the name under which they were registered.

const handlers = {
  async hook(call) {
    if (call.request_hook.path === '/stock/report') return json(await report(call));
    return { change: { values: [{ key: 'stamp', value: text(NAME) }] } };
  },
  sign(call) {
    if (call.enter) return { next: { want_leave: true, state: Buffer.from(call.enter.path) } };
    const value = Buffer.concat([Buffer.from('javascript '), call.leave.state]);
    return { change: { set: [{ name: 'x-signed', value }] } };
  },
  heard(call) {
    hear(decoded(call.event.data).text);
    return { change: {} };
  },
  greet({ invoke }) {
    if (invoke.method !== 'Greet') throw new Error(`unknown method ${invoke.method}`);
    return { result: text(`${greeting}, ${decoded(invoke.arguments).text}`) };
  },
  hello({ values, route }) {
    const stamp = values.find((value) => value.key === 'stamp');
    const name = route.parameters.find((parameter) => parameter.name === 'name');
    return json({ stamp: decoded(stamp.value).text, greeting: `${greeting}, ${name.value}` });
  },
};

function json(body) {
  const headers = [{ name: 'content-type', value: Buffer.from('application/json') }];
  return { answer: { status: 200, headers, body: { whole: Buffer.from(JSON.stringify(body)) } } };
}

// What the plugin calls.

function log(message) {
  const stream = host.Telemetry(deadline(), () => {});
  stream.write({ kind: 'KIND_LOG', level: 'info', name: message });
  stream.end({ kind: 'KIND_COUNTER', name: 'stock.logged', number: 1 });
}

async function report(call) {
  const methods = {
    async Unregister() {
      const gone = { kind: 'KIND_MIDDLEWARE', name: 'gone', handler: 'sign', request_only: true };
      await register(gone);
      await ask('Unregister', gone);
      return 'ok';
    },
    GetPluginConfig: async () => (await ask('GetPluginConfig', {})).values.values.greeting.text,
    GetConfig: () => keyValue('GetConfig', { operation: 'OPERATION_GET', key: 'database.host' }),
    Cache: () => roundTrip('Cache', { ttl_ms: 60_000 }),
    Storage: () => roundTrip('Storage'),
    Database: database,
    async Publish() {
      const ping = heard.length ? heard.shift() : new Promise((resolve) => (hear = resolve));
      await ask('Publish', { name: 'stock.ping', data: text('ping') });
      return ping;
    },
    Import: () => ask('Import', { plugin: NAME, service: 'Nobody' }),
    async Invoke() {
      // Its own service, through the host as any other plugin's.
      await ask('Import', { plugin: NAME, service: 'Greeter' });
      const onBehalfOf = new grpc.Metadata();
      onBehalfOf.set('rockstar-call', String(call.id));
      const invocation = { plugin: NAME, service: 'Greeter', method: 'Greet', arguments: text('ann') };
      return decoded((await ask('Invoke', invocation, onBehalfOf)).result).text;
    },
    Services: () => collected(host.Services({}, deadline()), (service) => [service.name]),
    async GetPluginMetrics() {
      const { value } = await ask('GetPluginMetrics', { operation: 'OPERATION_GET', key: NAME });
      return 'plugin.load.success' in decoded(value).map.values;
    },
  };
  const said = {};
  for (const [name, method] of Object.entries(methods)) said[name] = await attempt(method);
  return said;
}

/** What the method gave, or why it could not. */
async function attempt(method) {
  try {
    return await method();
  } catch (error) {
    return error instanceof Refused ? `refused: ${error.message}` : `${grpc.status[error.code]}: ${error.details}`;
  }
}

async function keyValue(method, request) {
  return decoded((await ask(method, request)).value).text;
}

async function roundTrip(method, options = {}) {
  await ask(method, { operation: 'OPERATION_SET', key: 'name', value: text('ann'), ...options });
  const found = await keyValue(method, { operation: 'OPERATION_GET', key: 'name' });
  await ask(method, { operation: 'OPERATION_DELETE', key: 'name' });
  return found;
}

/** All that the stream brings. */
function collected(stream, pick) {
  return new Promise((resolve, reject) => {
    const all = [];
    stream.on('data', (message) => {
      if (message.failure) reject(new Refused(message.failure.text));
      else all.push(...pick(message));
    });
    stream.on('error', reject);
    stream.on('end', () => resolve(all));
  });
}

function database() {
  const run = (sql, ...values) => ({ sql, arguments: values.map((value) => ({ text: value })), timeout_ms: 5_000 });
  const requests = [
    { execute: run('CREATE TABLE IF NOT EXISTS stock_javascript (name TEXT)') },
    { begin: {} },
    { execute: run('DELETE FROM stock_javascript') },
    { execute: run('INSERT INTO stock_javascript (name) VALUES (?)', 'ann') },
    { commit: {} },
    { query: run('SELECT name FROM stock_javascript WHERE name = ?', 'ann') },
  ];
  const session = host.Database(deadline());
  requests.forEach((request, index) => session.write({ sequence: index + 1, ...request }));
  session.end();
  return collected(session, (reply) => (reply.row ? [reply.row.values.map((value) => value.text)] : []));
}

const server = new grpc.Server();
server.addService(Plugin.service, service);
server.bindAsync(`unix:${process.env.ROCKSTAR_PLUGIN_SOCKET}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});

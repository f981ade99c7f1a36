/**
 * Sessions of the command sandbox pinfold: a {@link Client} talks to `pinfold serve`, a
 * {@link Session} is a sandbox that stays, a {@link Process} is a command in it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { connect, type Socket } from "node:net";
import type { Readable, Writable } from "node:stream";

/** Output of one process that is kept until it is read, in bytes. */
const UNREAD = 4 * 1024 * 1024;

/** How much input is sent at once, in bytes. */
const PIECE = 256 * 1024;

/** The server refuses a request; `code` is the number of the protocol. */
export class PinfoldError extends Error {
  constructor(
    readonly code: number,
    message: string,
    /** What to do about it, where there is something. */
    readonly hint?: string,
  ) {
    super(hint === undefined ? message : `${message} (${hint})`);
    this.name = new.target.name;
  }
}
/** There is no such session or process. */
export class NotFoundError extends PinfoldError {}
/** The profile refuses it. */
export class RefusedError extends PinfoldError {}
/** The configuration is wrong, or the host cannot enforce it. */
export class ConfigurationError extends PinfoldError {}
/** A limit of the server is reached. */
export class LimitError extends PinfoldError {}
/** The program cannot be executed. */
export class ProgramError extends PinfoldError {}

const ERRORS = new Map<number, new (code: number, message: string, hint?: string) => PinfoldError>([
  [-32001, NotFoundError],
  [-32003, RefusedError],
  [-32004, ConfigurationError],
  [-32005, LimitError],
  [-32007, ProgramError],
]);

/** A piece of output. */
export interface Chunk {
  sequence: number;
  stream: "stdout" | "stderr" | "terminal";
  data: Buffer;
}

/** What the sandbox refused, though the user could have done it outside. */
export interface Denial {
  sequence: number;
  process: string | null;
  program: string | null;
  attempted: "read" | "execute" | "write" | "create" | "remove" | "change" | "connect";
  kind: "path" | "socket" | "host";
  target: string;
  count: number;
  rule: string;
  origin: string | null;
  /** The smallest rule that would allow it, as {@link SessionOptions} take it. */
  allow: { option: "read" | "write" | "net" | "unixSockets"; value: string } | null;
  /** What `write` can open alone once there is something, where `allow` opens much more. */
  narrower: string | null;
  /** A place where credentials are kept, which no program should open by itself. */
  secret: boolean;
}

function denials(given: any[] | undefined): Denial[] {
  return (given ?? []).map(({ seq, pid: _, allow, ...same }) => {
    const option = allow?.option === "allow-unix-socket" ? "unixSockets" : allow?.option;
    return { ...same, sequence: seq, allow: allow === null ? null : { ...allow, option } };
  });
}

/** How a process ended; `code` mirrors a death by signal *n* as 128 + *n*. */
export interface Ended {
  code: number;
  signal?: number;
  /** What was refused to it, when the session looks for that. */
  denials?: Denial[];
}

/** A command that has ended, with all it wrote. */
export interface Completed {
  code: number;
  stdout: Buffer;
  stderr: Buffer;
  denials: Denial[];
}

/** A name in a directory. */
export interface Entry {
  name: string;
  kind: "file" | "directory" | "link" | "other";
  size: number;
}

/** What a session is started with; the lists are as the options of `pinfold run`. */
export interface SessionOptions {
  name?: string;
  profile?: string;
  directory?: string;
  settings?: string[];
  read?: string[];
  write?: string[];
  deny?: string[];
  net?: string[];
  environment?: string[];
  allowGaps?: string[];
  unixSockets?: string[];
  /** How closely refusals are looked for. */
  denials?: "off" | "cheap" | "writes" | "opens" | "all";
  keep?: boolean;
}

/** What a command is started with. */
export interface StartOptions {
  directory?: string;
  environment?: Record<string, string>;
  terminal?: { rows: number; columns: number };
  stdin?: boolean;
}

interface Answer {
  resolve: (result: any) => void;
  reject: (error: Error) => void;
}

/** A connection to `pinfold serve`. */
export class Client {
  #last = 0;
  #rest: Buffer[] = [];
  #lost = false;
  readonly #waiting = new Map<number, Answer>();
  readonly #processes = new Map<string, Process>();
  /** What the server grants, as in the protocol. */
  limits: Record<string, number> = {};

  private constructor(
    private readonly reader: Readable,
    private readonly writer: Writable,
    private readonly server?: ChildProcess,
  ) {
    reader.on("data", (data: Buffer) => this.#receive(data));
    reader.on("close", () => this.#lose());
    reader.on("error", () => this.#lose());
    writer.on("error", () => this.#lose());
  }

  /** A server of its own, which ends with this client. */
  static async start(program?: string): Promise<Client> {
    const name = program ?? process.env["PINFOLD_PROGRAM"] ?? "pinfold";
    const server = spawn(name, ["serve"], { stdio: ["pipe", "pipe", "inherit"] });
    await new Promise<void>((resolve, reject) => {
      server.once("spawn", resolve);
      server.once("error", reject);
    });
    return new Client(server.stdout!, server.stdin!, server).#initialized();
  }

  /** The server that listens on a unix socket. */
  static async connect(path: string): Promise<Client> {
    const socket: Socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return new Client(socket, socket).#initialized();
  }

  async #initialized(): Promise<Client> {
    const client = { name: "pinfold-typescript" };
    this.limits = (await this.call("initialize", { protocol: 1, client })).limits;
    return this;
  }

  /** Ends the connection, and the server if it is this client's own. */
  async close(): Promise<void> {
    this.reader.resume();
    const server = this.server;
    const ended = new Promise<void>((resolve) => {
      if (server === undefined) this.reader.once("close", resolve);
      else if (server.exitCode !== null || server.signalCode !== null) resolve();
      else server.once("exit", () => resolve());
    });
    this.writer.end();
    if (server === undefined) this.reader.destroy();
    await ended;
  }

  /** One request of the protocol; its result. */
  call(method: string, params: object = {}): Promise<any> {
    if (this.#lost) return Promise.reject(new Error("the server has ended"));
    const id = ++this.#last;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.writer.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
    // Whoever waits for an answer must get it, whatever is unread.
    this.reader.resume();
    return answer;
  }

  #lose(): void {
    this.#lost = true;
    for (const answer of this.#waiting.values()) answer.reject(new Error("the server has ended"));
    this.#waiting.clear();
    for (const process of this.#processes.values()) process.finish();
  }

  #receive(data: Buffer): void {
    let start = 0;
    for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10, start)) {
      this.#rest.push(data.subarray(start, end));
      const line = Buffer.concat(this.#rest).toString();
      this.#rest = [];
      start = end + 1;
      this.#message(JSON.parse(line));
    }
    if (start < data.length) this.#rest.push(data.subarray(start));
    this.pace();
  }

  /** Reads on, or not, after what is unread. */
  pace(): void {
    const full = [...this.#processes.values()].some((process) => process.unread > UNREAD);
    if (full && this.#waiting.size === 0) this.reader.pause();
    else this.reader.resume();
  }

  #message(message: any): void {
    if (message.method === undefined) {
      const answer = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error === undefined) {
        // Its output follows at once, and must find the process.
        if (typeof message.result?.process === "string") this.adopt(message.result.process);
        return answer?.resolve(message.result);
      }
      const { code, message: text, data } = message.error;
      return answer?.reject(new (ERRORS.get(code) ?? PinfoldError)(code, text, data?.hint));
    }
    this.#processes.get(message.params.process)?.receive(message.method, message.params);
  }

  /** The process with an identifier. */
  adopt(name: string): Process {
    const known = this.#processes.get(name) ?? new Process(this, name);
    this.#processes.set(name, known);
    return known;
  }

  /** Forgets a process that has ended. */
  forget(name: string): void {
    this.#processes.delete(name);
  }

  /** Starts a session. */
  async startSession(options: SessionOptions = {}): Promise<Session> {
    const { allowGaps: allow_gaps, unixSockets: unix_sockets, ...same } = options;
    const params = { ...same, allow_gaps, unix_sockets };
    return new Session(this, await this.call("session/start", params));
  }

  /** Comes (back) to a session, by its name or identifier. */
  async attachSession(session: string): Promise<Session> {
    return new Session(this, await this.call("session/attach", { session }));
  }

  /** What sessions there are. */
  async listSessions(): Promise<{ session: string; name: string }[]> {
    return (await this.call("session/list")).sessions;
  }
}

/** A sandbox that stays. */
export class Session {
  readonly session: string;
  readonly name: string;
  readonly profile: string;
  readonly directory: string;

  constructor(
    private readonly client: Client,
    described: any,
  ) {
    this.session = described.session;
    this.name = described.name;
    this.profile = described.profile;
    this.directory = described.directory;
  }

  #call(method: string, params: object = {}): Promise<any> {
    return this.client.call(method, { session: this.session, ...params });
  }

  /** Starts a command. */
  async start(command: string[], options: StartOptions = {}): Promise<Process> {
    const started = await this.#call("process/start", { command, ...options });
    return this.client.adopt(started.process);
  }

  /** Runs a command to its end and collects what it writes. */
  async run(
    command: string[],
    options: { input?: Buffer; directory?: string; environment?: Record<string, string> } = {},
  ): Promise<Completed> {
    const { input, ...rest } = options;
    const process = await this.start(command, { ...rest, stdin: input !== undefined });
    // A command that does not read it all fails the sending, and nothing else.
    const sent = input === undefined ? undefined : process.send(input).catch(() => undefined);
    const streams: Record<string, Buffer[]> = { stdout: [], stderr: [] };
    for await (const chunk of process.output()) streams[chunk.stream]?.push(chunk.data);
    await sent;
    const { code, denials = [] } = await process.wait();
    return {
      code,
      denials,
      stdout: Buffer.concat(streams["stdout"] ?? []),
      stderr: Buffer.concat(streams["stderr"] ?? []),
    };
  }

  /** Comes (back) to a process, and to its output after a chunk. */
  async attach(process: string, after = 0): Promise<Process> {
    const attached = this.client.adopt(process);
    await this.client.call("process/attach", { process, after });
    return attached;
  }

  /** The verdict for a path, URL, host or variable, as `pinfold explain` has it. */
  async explain(thing: string): Promise<string> {
    return (await this.#call("session/explain", { thing })).text;
  }

  /** What was refused, in order: to one process or to all, from a sequence number on. */
  async denials(process?: string, since = 0): Promise<Denial[]> {
    return denials((await this.#call("session/denials", { process, from: since })).denials);
  }

  /** A whole file, as a command of the session sees it. */
  async readFile(path: string): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (let offset = 0; ; ) {
      const answer = await this.#call("file/read", { path, offset });
      const piece = Buffer.from(answer.data, "base64");
      pieces.push(piece);
      offset += piece.length;
      if (answer.end || piece.length === 0) return Buffer.concat(pieces);
    }
  }

  /** Writes a file as a command of the session does. */
  async writeFile(
    path: string,
    data: Buffer,
    how: "replace" | "create" | "append" = "replace",
  ): Promise<void> {
    await this.#call("file/write", { path, data: data.toString("base64"), how });
  }

  /** The names in a directory. */
  async listFiles(path = "."): Promise<Entry[]> {
    return (await this.#call("file/list", { path })).entries;
  }

  /** Ends the session and everything in it. */
  async stop(): Promise<void> {
    await this.#call("session/stop");
  }
}

/** A command in a session. */
export class Process {
  #chunks: Chunk[] = [];
  #ended: Ended | undefined;
  #over = false;
  #wake: (() => void)[] = [];
  /** Bytes that nobody has read yet. */
  unread = 0;

  constructor(
    private readonly client: Client,
    readonly process: string,
  ) {}

  #call(method: string, params: object = {}): Promise<any> {
    return this.client.call(method, { process: this.process, ...params });
  }

  /** Takes a notification of the protocol. */
  receive(method: string, params: any): void {
    if (method === "process/output") {
      const data = Buffer.from(params.data, "base64");
      this.#chunks.push({ sequence: params.sequence, stream: params.stream, data });
      this.unread += data.length;
      this.#news();
    } else if (method === "process/ended") {
      const signal = params.status.signaled;
      this.#ended = { code: params.code };
      if (signal !== undefined) this.#ended.signal = signal;
      if (params.denials !== undefined) this.#ended.denials = denials(params.denials);
      this.client.forget(this.process);
      this.finish();
    }
  }

  /** Nothing more comes. */
  finish(): void {
    this.#over = true;
    this.#news();
  }

  #news(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  #take(): Chunk | undefined {
    const chunk = this.#chunks.shift();
    this.unread -= chunk?.data.length ?? 0;
    this.client.pace();
    return chunk;
  }

  /** What the process writes, until it has ended and all is read. */
  async *output(): AsyncGenerator<Chunk> {
    for (;;) {
      for (let chunk = this.#take(); chunk !== undefined; chunk = this.#take()) yield chunk;
      if (this.#over) return;
      await new Promise<void>((wake) => this.#wake.push(wake));
    }
  }

  /** Waits for its end. Of output that nobody reads, the newest 4 MiB are kept. */
  async wait(): Promise<Ended> {
    while (!this.#over) {
      while (this.unread > UNREAD) this.#take();
      await new Promise<void>((wake) => this.#wake.push(wake));
    }
    if (this.#ended === undefined) throw new Error("the server has ended");
    return this.#ended;
  }

  /** Writes to its standard input or terminal; resolves when it is written. */
  async write(data: Buffer | string): Promise<void> {
    await this.#call("process/write", { data: Buffer.from(data as string).toString("base64") });
  }

  /** Writes it all and ends standard input. */
  async send(data: Buffer): Promise<void> {
    for (let start = 0; start < data.length; start += PIECE) {
      await this.write(data.subarray(start, start + PIECE));
    }
    await this.closeStdin();
  }

  /** Ends its standard input. */
  async closeStdin(): Promise<void> {
    await this.#call("process/close_stdin");
  }

  /** Changes the size of its terminal. */
  async resize(rows: number, columns: number): Promise<void> {
    await this.#call("process/resize", { rows, columns });
  }

  /** Sends a signal, by name, to its process group. */
  async signal(signal: string): Promise<void> {
    await this.#call("process/signal", { signal });
  }

  /** Ends it and its descendants; kills what has not ended after `grace` seconds. */
  async terminate(grace = 5): Promise<void> {
    await this.#call("process/terminate", { grace });
  }
}

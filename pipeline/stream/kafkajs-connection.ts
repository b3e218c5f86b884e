/**
 * kafkajs's connection to a cluster: TLS, SASL, and why a first connection failed in one sentence.
 *
 * Certificates and the host names in them are always verified: there is no switch to leave that out. kafkajs reports a
 * refused certificate, a port without TLS and a broker that is not there alike, so the sockets are watched from here.
 */
import { randomInt } from "node:crypto";
import { connect as connectPlain, isIP, type Socket } from "node:net";
import { connect as connectTls, getCACertificates } from "node:tls";
import kafkajs, {
  type ISocketFactory,
  type Kafka,
  type KafkaConfig,
  type SASLOptions,
} from "kafkajs";
import { isSealstreamError, SealstreamError } from "../errors.ts";
import { installCodecs, installQueueFixes } from "./kafkajs-internals.ts";
import { quietly } from "./kafkajs-producer.ts";
import type { ClientOptions, SaslOptions, TlsOptions } from "./open-client.ts";
import type { Logger } from "./port.ts";
import { accessDenied, causesOf } from "./security.ts";

const { logLevel } = kafkajs;

const KEEP_ALIVE_MS = 60_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** A broker that stands still must not hold a lane for kafkajs's 30 s while another leads already. */
const REQUEST_TIMEOUT_MS = 10_000;
/** Before a token ends; whoever gives tokens must give another one by then. */
const REAUTHENTICATE_BEFORE_MS = 5_000;
/** Whoever opens the client decides how long to wait for a broker; this only gets past a single bad moment. */
const PROBE_RETRIES = 3;
/** Any answer of a Kafka broker is longer; a TLS alert is not. */
const SHORTEST_ANSWER_BYTES = 32;

/** OpenSSL's words for a certificate that the authorities do not vouch for. */
const UNTRUSTED =
  /^(?:UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_UNTRUSTED|CERT_SIGNATURE_FAILURE|INVALID_CA|CERT_CHAIN_TOO_LONG)/;
const WRONG_DATE = /^CERT_(?:HAS_EXPIRED|NOT_YET_VALID)$/;
/** The broker's alert about our own certificate. */
const OWN_CERTIFICATE = /^ERR_SSL_.*ALERT.*(?:CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE)/;

/** What the last socket met that was not simply "nobody there". */
type Trouble =
  | "untrusted"
  | "wrong-host"
  | "wrong-date"
  | "own-certificate"
  | "no-tls"
  | "wants-tls";

function troubleOf(code: string, isTls: boolean, isSecure: boolean): Trouble | null {
  if (UNTRUSTED.test(code)) return "untrusted";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return "wrong-host";
  if (WRONG_DATE.test(code)) return "wrong-date";
  if (OWN_CERTIFICATE.test(code)) return "own-certificate";
  // A broker without TLS takes the greeting for a message of 350 MB and hangs up.
  const hungUp = code === "ECONNRESET" || code === "EPROTO" || code.startsWith("ERR_SSL_");
  return isTls && !isSecure && hungUp ? "no-tls" : null;
}

const SENTENCES: Readonly<Record<Trouble, string>> = {
  untrusted:
    "shows a certificate that kafka.tls.ca does not vouch for: name the authority that signed it",
  "wrong-host": "shows a certificate for another host name: connect by a name that is in it",
  "wrong-date": "shows a certificate that is out of date: have it renewed",
  "own-certificate":
    "refuses our certificate or misses one: check kafka.tls.certificate and kafka.tls.privateKey",
  "no-tls": "does not speak TLS on this port: name its TLS port or remove kafka.tls",
  "wants-tls": "closes connections without TLS: set kafka.tls or name its plain port",
};

/** Opens sockets as kafkajs itself does and remembers what went wrong with the last one. */
class SocketWatch {
  #trouble: Trouble | null = null;
  #hungUp = false;

  readonly factory: ISocketFactory = ({ host, port, ssl, onConnect }) => {
    const isTls = Boolean(ssl);
    let connected = false;
    const onOpen = (): void => {
      connected = true;
      onConnect();
    };
    const name = isIP(host) === 0 ? { servername: host } : {};
    const socket: Socket = isTls
      ? connectTls({ host, port, ...name, ...ssl }, onOpen)
      : connectPlain({ host, port }, onOpen);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#trouble = troubleOf(error.code ?? "", isTls, connected) ?? this.#trouble;
    });
    socket.once("end", () => {
      this.#hungUp = connected;
      if (connected && !isTls && socket.bytesRead < SHORTEST_ANSWER_BYTES) {
        this.#trouble = "wants-tls";
      }
    });
    return socket;
  };

  /** Why the cluster could not be used. */
  explain(error: unknown, { brokers, sasl }: ClientOptions): SealstreamError {
    const known = causesOf(error).find((cause) => isSealstreamError(cause));
    const denied = known ?? accessDenied(error, "the cluster");
    if (isSealstreamError(denied)) {
      return denied;
    }
    const where = brokers.join(", ");
    if (this.#trouble !== null) {
      return new SealstreamError(
        "access-denied",
        `The Kafka broker at ${where} ${SENTENCES[this.#trouble]}.`,
        { cause: error },
      );
    }
    if (this.#hungUp && (sasl ?? null) === null) {
      return new SealstreamError(
        "access-denied",
        `The Kafka broker at ${where} hangs up on a client that does not say who it is: set kafka.sasl.`,
        { cause: error },
      );
    }
    return new SealstreamError(
      "broker-unavailable",
      `No Kafka broker answers at ${where}: check KAFKA_BROKERS or kafka.brokers, or start one with "sealstream broker".`,
      { cause: error },
    );
  }
}

function sslOptions(tls: TlsOptions | null): Pick<KafkaConfig, "ssl"> {
  if (tls === null) {
    return {};
  }
  const system = getCACertificates("system");
  return {
    ssl: {
      ca: tls.ca ?? (system.length > 0 ? system : getCACertificates("bundled")),
      ...(tls.certificate === null ? {} : { cert: tls.certificate }),
      ...(tls.privateKey === null ? {} : { key: tls.privateKey }),
    },
  };
}

function saslOptions(sasl: SaslOptions): SASLOptions {
  if (sasl.mechanism === "oauthbearer") {
    const { token } = sasl;
    return {
      mechanism: "oauthbearer",
      oauthBearerProvider: async () => ({ value: await token() }),
    };
  }
  const { mechanism, username, password } = sasl;
  return { mechanism, username, password };
}

function createLogBridge(logger: Logger) {
  return () =>
    ({ namespace, level, log }: { namespace: string; level: number; log: { message: string } }) => {
      // Only the library's own fixed sentence is passed on: its extra fields may name anything.
      const fields = { client: "kafkajs", namespace };
      if (level === logLevel.ERROR || level === logLevel.WARN) {
        logger.debug(fields, log.message);
      }
    };
}

/** kafkajs, as this project uses it. */
export interface KafkajsRoots {
  /** For its admin client and its group consumer. */
  readonly kafka: Kafka;
  /** For links, whose users try again by themselves. */
  readonly links: Kafka;
}

/**
 * Where to begin, another place each time: kafkajs begins with the first of its list, and stays with one that takes
 * connections and then closes them or says nothing, as a dead broker behind a balancer or a stopped one does.
 */
function anyOf(brokers: readonly string[]): () => string[] {
  return () => {
    const from = randomInt(brokers.length);
    return brokers.slice(from, from + 1);
  };
}

/** Asks the cluster something, beginning with each broker in turn: one that only takes connections hides the others. */
async function probe(config: KafkaConfig, brokers: readonly string[]): Promise<void> {
  // Retries of a first connection are those of the whole object, so the probe has objects of its own.
  const retry = { initialRetryTime: 20, retries: Math.max(PROBE_RETRIES, brokers.length) };
  for (let first = 0; ; first += 1) {
    const inTurn = [...brokers.slice(first), ...brokers.slice(0, first)];
    const admin = new kafkajs.Kafka({ ...config, brokers: inTurn, retry }).admin();
    try {
      await admin.connect();
      // A broker that wants SASL answers the first request of anybody, and hangs up at the second.
      await admin.describeCluster();
      return;
    } catch (error) {
      if (first + 1 >= brokers.length || accessDenied(error, "the cluster") !== null) {
        throw error;
      }
    } finally {
      await quietly(admin.disconnect());
    }
  }
}

/**
 * Opens kafkajs and makes sure that the cluster answers and accepts us.
 * @throws SealstreamError `broker-unavailable` when nobody answers, `access-denied` when the cluster or we refuse
 */
export async function connectKafkajs(options: ClientOptions): Promise<KafkajsRoots> {
  installCodecs();
  installQueueFixes();
  const watch = new SocketWatch();
  const sasl = options.sasl ?? null;
  const { brokers } = options;
  const config: KafkaConfig = {
    clientId: options.clientId,
    brokers: [...brokers],
    logLevel: logLevel.WARN,
    logCreator: createLogBridge(options.logger),
    connectionTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    reauthenticationThreshold: REAUTHENTICATE_BEFORE_MS,
    socketFactory: watch.factory,
    ...sslOptions(options.tls ?? null),
    ...(sasl === null ? {} : { sasl: saslOptions(sasl) }),
  };
  try {
    await probe(config, brokers);
  } catch (error) {
    throw watch.explain(error, options);
  }
  const lasting: KafkaConfig = { ...config, brokers: anyOf(brokers) };
  const retry = { initialRetryTime: 20, maxRetryTime: 1_000 };
  return {
    kafka: new kafkajs.Kafka({ ...lasting, retry: { ...retry, retries: 12 } }),
    links: new kafkajs.Kafka({ ...lasting, retry: { ...retry, retries: 0 } }),
  };
}

// The live stream: resumes from the last event seen, and while it is away the page refreshes itself.

const FIRST_RETRY = 500;
const LONGEST_RETRY = 15_000;
const REFRESH = 30_000;
const PING = 20_000;
const SESSION_OVER = 4401;

export class Live {
  /** @param on `{event, resync, tick, state, over}`: called with each event, and when the state changes. */
  constructor(on) {
    this.on = on;
    this.position = null;
    this.retry = FIRST_RETRY;
    this.socket = null;
    this.timers = [];
    this.stopped = true;
  }

  start() {
    this.stopped = false;
    this.timers = [
      setInterval(() => { if (this.isOpen) this.on.tick(); else this.on.resync("fallback"); }, REFRESH),
      setInterval(() => { if (this.isOpen) this.socket.send('{"type":"ping"}'); }, PING),
    ];
    this.connect();
  }

  stop() {
    this.stopped = true;
    this.timers.forEach(clearInterval);
    clearTimeout(this.waiting);
    if (this.socket) this.socket.close();
    this.socket = null;
    this.position = null;
  }

  get isOpen() {
    return this.socket !== null && this.socket.readyState === WebSocket.OPEN;
  }

  connect() {
    const url = new URL("/api/v1/live", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    if (this.position) url.searchParams.set("after", this.position);
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.onmessage = (message) => this.take(JSON.parse(message.data));
    socket.onclose = (event) => {
      if (this.stopped || socket !== this.socket) return;
      if (event.code === SESSION_OVER) { this.on.over(); return; }
      this.on.state("reconnecting");
      this.waiting = setTimeout(() => this.connect(), this.retry * (0.75 + Math.random() / 2));
      this.retry = Math.min(this.retry * 2, LONGEST_RETRY);
    };
  }

  take(frame) {
    if (frame.type === "hello") {
      const first = this.position === null;
      // Where events follow that were missed, their ids lead on from the old position.
      if (first || frame.resync) this.position = frame.position;
      this.retry = FIRST_RETRY;
      this.on.state("live");
      if (first || frame.resync) this.on.resync(frame.resync ?? "first");
    } else if (frame.type === "events") {
      for (const event of frame.events) {
        this.position = event.id;
        this.on.event(event);
      }
    } else if (frame.type === "resync") {
      this.position = null;
      this.on.resync(frame.reason);
    }
  }
}

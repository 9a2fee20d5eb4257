/// The page at `/` of the metrics address: a gateway at a glance, in a browser. It asks for `/status.json` again and
/// again; nothing on it comes from elsewhere, and nothing can be changed by it.
enum StatusPage {
    /// Where the page asks.
    static let dataPath = "/status.json"

    /// The page. Its script and style run because they carry a number that nobody could know before.
    static func answer() -> ControlAnswer {
        let nonce = String(UInt128.random(in: 0 ... .max), radix: 16)
        var answer = ControlAnswer(
            .ok, text: page.replacing("NONCE", with: nonce), contentType: "text/html; charset=utf-8")
        answer.fields = [
            (
                "content-security-policy",
                "default-src 'none'; script-src 'nonce-\(nonce)'; style-src 'nonce-\(nonce)'; connect-src 'self'; "
                    + "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ), ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"),
        ]
        return answer
    }

    private static let page = """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <link rel="icon" href="data:,">
        <title>vpn-gw</title>
        <style nonce="NONCE">\(style)</style>
        </head>
        <body>
        <header><h1 id="name">vpn-gw</h1><p id="state" role="status">asking …</p></header>
        <main>
        <section class="charts" id="charts"></section>
        <section><h2>Tunnels <small id="tunnels-count"></small></h2>
        <div class="wide"><table id="tunnels"></table></div></section>
        <section><h2>Ports</h2><div class="wide"><table id="ports"></table></div></section>
        <section><h2>Workers</h2><div class="wide"><table id="workers"></table></div></section>
        <section><h2>Dropped</h2><div class="wide"><table id="drops"></table></div></section>
        </main>
        <footer><p id="sum"></p><p><a href="/metrics">/metrics</a> <a href="/healthz">/healthz</a></p></footer>
        <noscript>This page draws by a script. <a href="/metrics">/metrics</a> has the numbers.</noscript>
        <script nonce="NONCE">\(script)</script>
        </body>
        </html>

        """

    private static let style = """
        :root{color-scheme:light dark;--ink:#1a1c1f;--faint:#5d646c;--line:#d5d9de;--paper:#fff;--good:#1a7f37;
        --bad:#b3261e;--one:#0b62c4;--two:#b35900}
        @media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--faint:#9aa2ab;--line:#363b41;--paper:#16181b;
        --good:#57c774;--bad:#ff8a80;--one:#6cb0ff;--two:#ffab5c}}
        *{box-sizing:border-box}
        body{margin:0 auto;max-width:76rem;padding:1rem;background:var(--paper);color:var(--ink);
        font:15px/1.4 system-ui,sans-serif}
        header{display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:baseline}
        h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:1.5rem 0 .4rem}
        small,footer,.legend{color:var(--faint);font-weight:normal}
        #state{margin:0;font-weight:600}#state.up{color:var(--good)}
        .gone #state,#state.down,.down{color:var(--bad)}.gone main,.gone footer{opacity:.6}
        .charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1rem;
        margin-top:1rem}
        .chart{border:1px solid var(--line);border-radius:6px;padding:.6rem}
        .chart h2{margin:0 0 .3rem}.chart svg{display:block;width:100%;height:7rem}
        .times{display:flex;justify-content:space-between;margin:0;font-size:.75rem;color:var(--faint)}
        .legend{font-size:.85rem;display:flex;flex-wrap:wrap;gap:0 1rem;margin:.3rem 0 0}
        .one{stroke:var(--one);color:var(--one)}.two{stroke:var(--two);color:var(--two)}
        path{fill:none;stroke-width:1.5}path.two{stroke-dasharray:4 2}.axis{stroke:var(--line);stroke-width:1}
        .wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
        th,td{text-align:left;padding:.2rem 1rem .2rem 0;border-bottom:1px solid var(--line);white-space:nowrap}
        th{font-weight:600;color:var(--faint)}.number{text-align:right;font-variant-numeric:tabular-nums}
        td.help{white-space:normal;color:var(--faint);min-width:14rem}
        progress{width:7rem;vertical-align:middle}
        """

    private static let script = #"""
        'use strict';
        // Seconds that the charts show.
        const keep = 300, history = [], charts = [];
        const at = id => document.getElementById(id);
        function short(n, unit) {
          if (n == null) return '–';
          for (const p of ['', 'k', 'M', 'G', 'T']) {
            if (n < 999.5) return (p || n < 10 && n % 1 ? n.toPrecision(3) : Math.round(n)) + ' ' + p + (unit || '');
            n /= 1000;
          }
          return Math.round(n) + ' P' + (unit || '');
        }
        function element(name, text, kind) {
          const e = document.createElement(name);
          if (text != null) e.textContent = text;
          if (kind) e.className = kind;
          return e;
        }
        function drawing(name, kind) {
          const e = document.createElementNS('http://www.w3.org/2000/svg', name);
          if (kind) e.setAttribute('class', kind);
          return e;
        }
        function addChart(title, unit, lines) {
          const box = element('div', null, 'chart'), svg = drawing('svg'), legend = element('p', null, 'legend');
          svg.setAttribute('viewBox', '0 0 300 100');
          svg.setAttribute('preserveAspectRatio', 'none');
          svg.setAttribute('role', 'img');
          const axis = drawing('path', 'axis');
          // A mark each minute.
          axis.setAttribute('d', 'M0 99.5H300' + [0, 60, 120, 180, 240, 300].map(x => 'M' + x + ' 96V99.5').join(''));
          axis.setAttribute('vector-effect', 'non-scaling-stroke');
          svg.append(axis);
          const parts = lines.map(([name, field], i) => {
            const path = drawing('path', i ? 'two' : 'one'), words = element('span', null, i ? 'two' : 'one');
            path.setAttribute('vector-effect', 'non-scaling-stroke');
            svg.append(path);
            legend.append(words);
            return {name, field, path, words};
          });
          const top = element('span');
          legend.append(top);
          const times = element('p', null, 'times');
          times.append(element('span', keep / 60 + ' minutes ago'), element('span', 'now'));
          box.append(element('h2', title), svg, times, legend);
          at('charts').append(box);
          charts.push({svg, title, unit, parts, top});
        }
        function draw() {
          const now = Date.now();
          for (const c of charts) {
            const most = Math.max(1e-9, ...history.flatMap(s => c.parts.map(p => s[p.field] ?? 0)));
            for (const p of c.parts) {
              let d = '', pen = 'M';
              history.forEach(s => {
                if (s[p.field] == null) { pen = 'M'; return; }
                d += pen + (keep - (now - s.at) / 1000).toFixed(1) + ' ' + (98 - 94 * s[p.field] / most).toFixed(1);
                pen = 'L';
              });
              p.path.setAttribute('d', d);
              p.words.textContent = p.name + ' ' + short((history[history.length - 1] || {})[p.field], c.unit);
            }
            c.top.textContent = 'at most ' + short(most < 1e-6 ? 0 : most, c.unit);
            c.svg.setAttribute('aria-label', c.title + ': ' + c.parts.map(p => p.words.textContent).join(', '));
          }
        }
        // A title has its kind, and over how many columns it stands.
        function fill(id, titles, rows) {
          const head = element('tr'), kinds = titles.flatMap(([, kind, span]) => Array(span || 1).fill(kind || ''));
          const body = rows.map(cells => {
            const row = element('tr');
            cells.forEach((cell, i) => {
              const e = element('td', null, kinds[i]);
              if (cell instanceof Node) e.append(cell); else e.textContent = cell;
              if (cell === 'down') e.classList.add('down');
              row.append(e);
            });
            return row;
          });
          for (const [title, kind, span] of titles) {
            const e = element('th', title, kind === 'help' ? '' : kind);
            e.scope = span ? 'colgroup' : 'col';
            e.colSpan = span || 1;
            head.append(e);
          }
          if (!rows.length) {
            const row = element('tr'), cell = element('td', 'none');
            cell.colSpan = kinds.length;
            row.append(cell);
            body.push(row);
          }
          at(id).replaceChildren(head, ...body);
        }
        function share(worker) {
          const box = element('span'), bar = element('progress'), part = worker.busy_share;
          bar.max = 1;
          bar.value = part ?? 0;
          box.append(bar, ' ' + (part == null ? '–' : (part * 100).toFixed(1) + ' %'));
          return box;
        }
        function age(s) {
          const two = n => String(n).padStart(2, '0'), days = Math.floor(s / 86400);
          const clock = [Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60, s % 60].map(two).join(':');
          return (days ? days + ' d ' : '') + clock;
        }
        function show(s) {
          const n = 'number', t = s.tunnels, sum = (list, field) => list.reduce((a, b) => a + b[field], 0);
          document.title = s.name + ' – vpn-gw';
          at('name').textContent = s.name;
          at('state').textContent = t.up + ' of ' + t.count + ' tunnels up' + (t.down ? ', ' + t.down + ' down' : '')
            + ' · vpn-gw ' + s.version + ' · up ' + age(s.uptime_seconds);
          at('state').className = t.down ? 'down' : t.count && t.up === t.count ? 'up' : '';
          history.push({at: Date.now(),
            rx: sum(s.ports, 'rx_packets_per_second'), tx: sum(s.ports, 'tx_packets_per_second'),
            rxb: sum(s.ports, 'rx_bits_per_second'), txb: sum(s.ports, 'tx_bits_per_second'),
            drop: sum(s.drops, 'packets_per_second')});
          fill('tunnels',
            [['Tunnel'], ['State'], ['Peer'], ['Path out / in'], ['Out', n, 2], ['In', n, 2]],
            s.busiest_tunnels.map(r => [r.name, r.state, r.remote_address, r.outbound_path + ' / ' + r.inbound_path,
              short(r.outbound_packets_per_second, 'p/s'), short(r.outbound_bits_per_second, 'bit/s'),
              short(r.inbound_packets_per_second, 'p/s'), short(r.inbound_bits_per_second, 'bit/s')]));
          const more = t.count - s.busiest_tunnels.length;
          at('tunnels-count').textContent = more > 0 ? 'the busiest; ' + more + ' more' : '';
          fill('ports',
            [['Port'], ['Role'], ['Link'], ['In', n, 2], ['Out', n, 2], ['Lost by the device', n]],
            s.ports.map(r => [r.name, r.role, r.link, short(r.rx_packets_per_second, 'p/s'),
              short(r.rx_bits_per_second, 'bit/s'), short(r.tx_packets_per_second, 'p/s'),
              short(r.tx_bits_per_second, 'bit/s'), r.rx_lost_packets]));
          fill('workers', [['Worker'], ['Core'], ['In', n], ['Busy', n]],
            s.workers.map(r => [r.index, r.core, short(r.packets_per_second, 'p/s'), share(r)]));
          fill('drops', [['Reason'], ['Packets', n], ['Now', n], ['What it says', 'help']],
            s.drops.map(r => [r.reason, r.packets, short(r.packets_per_second, 'p/s'), r.help]));
          at('sum').textContent = 'rx ' + s.rx_packets + ' + own ' + s.originated_packets + ' = tx ' + s.tx_packets
            + ' + consumed ' + s.consumed_packets + ' + dropped ' + s.dropped_packets
            + ' + in flight ' + s.in_flight_packets;
        }
        let answered = null;
        async function ask() {
          const stop = new AbortController(), timer = setTimeout(() => stop.abort(), 5000);
          try {
            const answer = await fetch('/status.json', {signal: stop.signal, cache: 'no-store'});
            if (!answer.ok) throw new Error('status ' + answer.status);
            show(await answer.json());
            answered = new Date();
            document.body.classList.remove('gone');
          } catch (error) {
            history.push({at: Date.now()});
            document.body.classList.add('gone');
            at('state').className = '';
            document.title = at('name').textContent + ' – no answer';
            at('state').textContent = 'The gateway does not answer. ' + (answered
              ? 'What is below is of ' + answered.toLocaleString() + ', '
                + age(Math.round((Date.now() - answered) / 1000)) + ' ago.' : 'There are no data yet.');
          }
          clearTimeout(timer);
          while (Date.now() - history[0].at > keep * 1000) history.shift();
          draw();
          setTimeout(ask, document.hidden ? 10000 : 1000);
        }
        addChart('Packets', 'p/s', [['in', 'rx'], ['out', 'tx']]);
        addChart('Bits', 'bit/s', [['in', 'rxb'], ['out', 'txb']]);
        addChart('Dropped', 'p/s', [['dropped', 'drop']]);
        ask();
        """#
}

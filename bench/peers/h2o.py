# SPDX-License-Identifier: MIT
"""h2o 2.2 as a peer. Its proxy knows one backend only: for two datacenters a handler in
its mruby takes turns, leaves out what failed for 10 s, and asks the next one."""
import os

PROXY = """
        proxy.reverse.url: "http://{address}"
        proxy.timeout.keepalive: 60000"""

HANDLER = """
        mruby.handler: |
          addresses = [{addresses}]
          failed = {{}}
          turn = 0
          Proc.new do |env|
            body = env["rack.input"] ? env["rack.input"].read : nil
            head = {{}}
            env.each {{|k, v| head[k[5..-1].downcase.gsub("_", "-")] = v if k[0, 5] == "HTTP_" && k != "HTTP_HOST" }}
            path = env["SCRIPT_NAME"] + env["PATH_INFO"]
            path += "?" + env["QUERY_STRING"] if env["QUERY_STRING"] && env["QUERY_STRING"] != ""
            now = Time.now.to_i
            up = addresses.select {{|a| (failed[a] || 0) <= now }}
            up = addresses if up.empty?
            answer = nil
            up.length.times do
              turn += 1
              a = up[turn % up.length]
              status, fields, content = http_request("http://" + a + path, {{:method => env["REQUEST_METHOD"], :headers => head, :body => body}}).join
              answer = [status, fields, content]
              break if status < 500
              failed[a] = now + 10
            end
            answer
          end"""


def h2o(p):
    if p.role == "outage":
        paths = HANDLER.format(addresses=", ".join(f'"{address}"' for address in p.backends))
    else:
        paths = PROXY.format(address=p.backends[0])
    patience = f"proxy.timeout.io: {p.patience_ms}\n" if p.role == "outage" else ""
    user = "user: root\n" if os.geteuid() == 0 else ""
    conf = p.file("h2o.conf", f"""
num-threads: 1
max-connections: 9000
http2-idle-timeout: 3600
{user}{patience}pid-file: {p.path('h2o.pid')}
hosts:
  default:
    listen:
      host: 127.0.0.1
      port: {p.tls}
      ssl:
        certificate-file: {p.lab.dir}/cert.pem
        key-file: {p.lab.dir}/key.pem
    paths: &paths
      "/":{paths}
  cleartext:
    listen:
      host: 127.0.0.1
      port: {p.h2c}
    paths: *paths
""")
    return [["h2o", "-m", "worker", "-c", conf]]

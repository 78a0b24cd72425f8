# Varnish in front of the service, under the path /join/: varnishd -a :8080 -f varnish.vcl
# The service: PUBLIC_URL=https://example.com/join, TRUSTED_PROXIES=127.0.0.1, KEEP_ALIVE=65.
# A client that is too slow gets Varnish's own 503 instead of the service's 408, and without CORS headers.
vcl 4.1;

backend signup {
    .host = "127.0.0.1:8000";
}

sub vcl_recv {
    if (req.url !~ "^/join/" || req.url ~ "^/join/(metrics|readyz)$") {
        return (synth(404));
    }
    set req.url = regsub(req.url, "^/join/", "/");
    set req.http.X-Forwarded-For = client.ip;
}

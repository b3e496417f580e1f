//! The live page: plain files, in the binary.

/// A file of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    pub path: &'static str,
    pub content_type: &'static str,
    pub body: &'static str,
}

/// All of them. uPlot 1.6.32 is vendored as it is in the npm package, with its licence beside it.
pub(super) const FILES: [File; 7] = [
    File {
        path: "/",
        content_type: "text/html; charset=utf-8",
        body: include_str!("index.html"),
    },
    File {
        path: "/icon.svg",
        content_type: "image/svg+xml",
        body: include_str!("icon.svg"),
    },
    File {
        path: "/icon-down.svg",
        content_type: "image/svg+xml",
        body: include_str!("icon-down.svg"),
    },
    File {
        path: "/page.css",
        content_type: "text/css; charset=utf-8",
        body: include_str!("page.css"),
    },
    File {
        path: "/page.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_str!("page.js"),
    },
    File {
        path: "/uPlot.css",
        content_type: "text/css; charset=utf-8",
        body: include_str!("uPlot.min.css"),
    },
    File {
        path: "/uPlot.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_str!("uPlot.iife.min.js"),
    },
];

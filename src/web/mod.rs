//! HTTPS: pages, REST and static assets.

import type { NextConfig } from "next";

const config: NextConfig = {
  // These hold connections and read files, so they run on the server only.
  serverExternalPackages: ["@nats-io/transport-node", "@nats-io/jetstream"],
  turbopack: { root: import.meta.dirname },
};

export default config;

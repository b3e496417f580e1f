import type { NextConfig } from "next";

const config: NextConfig = {
  // These hold connections and read files; they are for the server alone.
  serverExternalPackages: ["@nats-io/transport-node", "@nats-io/jetstream"],
  turbopack: { root: import.meta.dirname },
};

export default config;

import { defineConfig } from "@hey-api/openapi-ts";

export default defineConfig({
  input: "openapi.json",
  output: { path: "task-status", module: { extension: ".ts" } },
  plugins: ["@hey-api/client-fetch", "@hey-api/sdk", { name: "@hey-api/typescript", enums: "javascript" }],
});

// A file of its own, because the page's policy allows no script within it.
SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  // No outside service is asked whether the document is valid.
  validatorUrl: null,
});

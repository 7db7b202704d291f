// Says so where the page cannot work. A plain script in the language of old browsers, which do not run main.js at all.
(function () {
  var reason = "";
  if (location.protocol === "file:") {
    reason = "Opened as a file, a page may load nothing. Serve its folder: python3 -m http.server";
  } else if (typeof WebAssembly === "undefined" || typeof DecompressionStream === "undefined" || !("noModule" in document.createElement("script"))) {
    reason = "This browser is too old for the playground: it needs WebAssembly and DecompressionStream, which Chrome 80, Firefox 113 and Safari 16.4 have.";
  }
  if (!reason) return;
  var notice = document.getElementById("too-old");
  notice.textContent = reason;
  notice.hidden = false;
  document.getElementById("engine").hidden = true;
})();

// Opens an HTML file in headless Chromium, does what a reader would, and prints what was seen as JSON.
// node look.mjs FILE [FOLDER]: with a FOLDER, leaves pictures there for people to look at.
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const [file, pictures] = process.argv.slice(2);
const seen = { problems: [], requests: [] };
const browser = await puppeteer.launch({
  args: [...chromium.args, "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  executablePath: await chromium.executablePath(),
  headless: "shell",
});
const page = await browser.newPage();
page.on("console", (message) => seen.problems.push(`${message.type()}: ${message.text()}`));
page.on("pageerror", (error) => seen.problems.push(`error: ${error.message}`));
page.on("dialog", (dialog) => { seen.problems.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
page.on("request", (request) => { if (!request.url().startsWith("data:")) seen.requests.push(request.url()); });

const picture = async (name) => {
  if (pictures) await page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true });
};

// The texts whose colour is too near to what is behind them (WCAG 2: 4.5 to 1).
const faint = () => page.evaluate(() => {
  const channels = (colour) => (colour.match(/[\d.]+/g) || []).map(Number);
  const light = (colour) => {
    const [red, green, blue] = channels(colour).map((each) => {
      const share = each / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const shape = at instanceof SVGElement && at.parentElement && at.parentElement.querySelector(":scope > rect, :scope > .body");
      if (shape && shape !== at) return getComputedStyle(shape).fill;
      const [, , , alpha = 1] = channels(getComputedStyle(at).backgroundColor);
      if (!(at instanceof SVGElement) && alpha > 0) return getComputedStyle(at).backgroundColor;
    }
    return "rgb(255, 255, 255)";
  };
  const found = new Set();
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
    if (!hasText || !element.getClientRects().length || ["SCRIPT", "STYLE", "title"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const [one, other] = [element instanceof SVGElement ? style.fill : style.color, behind(element)].map(light);
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) found.add(`${element.tagName}.${element.getAttribute("class")}: ${ratio.toFixed(2)}`);
  }
  return [...found];
});

const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);

for (const scheme of ["light", "dark"]) {
  await page.setViewport({ width: 1280, height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(`file://${file}`);
  seen[scheme] = { background: await background(), faint: await faint() };
  await picture(scheme);
}

seen.shapes = await page.$$eval("svg.figure .shape", (shapes) => shapes.map((shape) => {
  const { width, height } = shape.getBoundingClientRect();
  return { id: shape.dataset.id, visible: width > 4 && height > 4 };
}));
await page.click("#theme");
seen.toggled = await background();
await page.reload();
seen.kept = await background();

await page.$eval("svg.figure .shape a", (link) => link.focus());
await page.keyboard.press("Enter");
await page.waitForSelector("details.step[open]");
seen.opened = await page.$eval("details.step[open]", (step) => step.dataset.name);

seen.found = [];
await page.type("#search", "needle in the log");
await page.waitForSelector("details.step mark");
seen.found = await page.$$eval("details.step:not([hidden])", (steps) => steps.map((step) => step.dataset.name));

await page.setViewport({ width: 400, height: 800 });
seen.tooWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
await picture("narrow");
await page.emulateMediaType("print");
seen.printed = await background();
seen.printedTools = await page.$eval("nav", (nav) => getComputedStyle(nav).display);
await browser.close();
process.stdout.write(JSON.stringify(seen));

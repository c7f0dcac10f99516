import DriftPage
import Glibc
import TestSupport
import Testing

/// The page as a browser makes it out. Skipped where there is none: `apt-get install chromium`.
///
/// With `INGOT_PICTURES` naming a directory, its pictures are left there to be looked at.
@Suite(.serialized, .enabled(if: Browser.path != nil, "no Chromium on this machine"))
struct BrowserTests {
  @Test func theWholePageIsMadeOutWithoutComplaints() throws {
    let result = try Browser.open(DriftPage.html(SyntheticReport.full()), "--dump-dom")
    #expect(!result.err.contains("CONSOLE"), "\(result.err)")
    for id in PageTests.charts { #expect(result.out.contains("<figure id=\"\(id)\""), "\(id)") }
    #expect(result.out.ranges(of: "<svg ").count == PageTests.charts.count)
    // The script ran, so the content policy knows its hash.
    #expect(result.out.contains("<th scope=\"col\"><button type=\"button\">"))
  }

  @Test func aPolicyKeepsOtherScriptsOut() throws {
    let page = DriftPage.html(SyntheticReport.minimal())
    let result = try Browser.open(
      page.replacing("</main>", with: "</main><script>document.title='x'</script>"), "--dump-dom")
    #expect(result.err.contains("CONSOLE"))
    #expect(!result.out.contains("<title>x</title>"))
  }

  @Test func headingsSortTheirTables() throws {
    let script = """
      const table = document.querySelector('#weights-by-layer table');
      const layers = () => Array.from(table.tBodies[0].rows, (row) => row.cells[0].textContent).slice(0, 3).join();
      const errors = () => Array.from(table.tBodies[0].rows, (row) => Number(row.cells[1].dataset.v));
      const rises = (list) => list.every((value, index) => index === 0 || list[index - 1] <= value);
      const buttons = table.querySelectorAll('th button');
      buttons[1].click();
      const up = rises(errors());
      buttons[1].click();
      const down = rises(errors().reverse());
      buttons[0].click();
      document.title = [up, down, layers()].join(' ');
      """
    #expect(try Browser.run(script, width: 1200) == "true true 1,2,3")
  }

  @Test(arguments: [360, 768, 1600])
  func noWidthScrollsSideways(width: Int) throws {
    let script = """
      document.querySelectorAll('details').forEach((part) => { part.open = true; });
      const root = document.documentElement;
      document.title = root.scrollWidth <= root.clientWidth ? 'fits' : root.scrollWidth + ' in ' + root.clientWidth;
      """
    #expect(try Browser.run(script, width: width) == "fits")
  }

  @Test(arguments: [("light", 1, 1200, 10_000), ("dark", 0, 1200, 10_000), ("narrow", 1, 400, 15_000)])
  func picturesAreTaken(name: String, scheme: Int, width: Int, height: Int) throws {
    let page = DriftPage.html(SyntheticReport.full())
    let flags = "--hide-scrollbars --window-size=\(width),\(height) --blink-settings=preferredColorScheme=\(scheme)"
    let bytes = try Browser.picture(page, flags, name: name)
    #expect(bytes > 50_000)
  }
}

/// Headless Chromium, by whatever name it was installed.
enum Browser {
  static let path: String? = {
    let directories = (unsafe getenv("PATH").map { unsafe String(cString: $0) } ?? "").split(separator: ":")
    for name in ["chromium", "chromium-browser", "google-chrome"] {
      for directory in directories where unsafe access("\(directory)/\(name)", X_OK) == 0 {
        return "\(directory)/\(name)"
      }
    }
    return nil
  }()

  static func open(_ page: String, _ flags: String) throws -> Command.Result {
    try withTemporaryDirectory { directory in try open(page, flags, in: directory) }
  }

  private static func open(_ page: String, _ flags: String, in directory: String) throws -> Command.Result {
    try write(Array(page.utf8), to: directory + "/page.html")
    // Its profile stays with the page: a home need not be writable.
    let command = try Command(
      shell: "timeout 120 '\(path ?? "")' --headless --no-sandbox --disable-gpu --user-data-dir=profile "
        + "--enable-logging=stderr \(flags) 'file://\(directory)/page.html'", in: directory)
    let result = try command.wait()
    guard result.code == 0 else { throw TestFailure("the browser ended with \(result.code): \(result.err)") }
    return result
  }

  /// What a script made the title of the full page, where none is kept from running.
  static func run(_ script: String, width: Int) throws -> String {
    var page = DriftPage.html(SyntheticReport.full())
    page.replace("http-equiv=\"Content-Security-Policy\"", with: "name=\"no-policy\"")
    page.replace("</body>", with: "<script>\(script)</script></body>")
    let result = try open(page, "--dump-dom --window-size=\(width),900")
    guard let start = result.out.firstRange(of: "<title>")?.upperBound else { throw TestFailure("no title") }
    return String(result.out[start...].prefix { $0 != "<" })
  }

  /// The size in bytes of a picture of the page.
  static func picture(_ page: String, _ flags: String, name: String) throws -> Int {
    try withTemporaryDirectory { directory in
      _ = try open(page, "\(flags) --screenshot=\(name).png", in: directory)
      let bytes = try contents(of: "\(directory)/\(name).png")
      if let kept = unsafe getenv("INGOT_PICTURES") {
        try write(bytes, to: unsafe String(cString: kept) + "/\(name).png")
      }
      return bytes.count
    }
  }
}

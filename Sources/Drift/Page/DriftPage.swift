package import JSON

/// A drift report as one HTML page that needs nothing else: no network, no fonts, and no script but for sorting tables.
///
/// All text of the document is escaped, and a content policy lets only the page's own script run.
package enum DriftPage {
  /// - Parameter document: of `Formats/drift-report.md`; what it lacks is left out.
  package static func html(document: JSONValue) -> String {
    let sections = PageSection.all(of: document)
    let title = "Drift of \(name(document, "candidate"))"
    let page: Markup = """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta name="referrer" content="no-referrer">
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
      script-src 'sha256-\(PageScript.hash)'; base-uri 'none'; form-action 'none'">
      <title>\(title)</title>
      <style>
      \(Markup(trusted: PageStyle.text))
      </style>
      </head>
      <body>
      \(Overview.html(document, sections: sections))<main>
      \(sections.map(\.html))<footer>Written by ingot \(document.text(at: "ingot") ?? ""). The whole document is in this page, as \
      <code>script#document</code>, schema <code>\(document.text(at: "schema") ?? "")</code>.</footer>
      </main>
      <script type="application/json" id="document">\(embedded(document))</script>
      <script>\(Markup(trusted: PageScript.text))</script>
      </body>
      </html>

      """
    return page.html
  }

  /// The last part of a model's path.
  static func name(_ document: JSONValue, _ role: String) -> String {
    let path = document.text(at: "\(role).path") ?? "an unnamed model"
    return path.split(separator: "/").last.map(String.init) ?? path
  }

  /// The document as JSON that no HTML reader can end early: `<`, `>`, `&` and what is invisible are spelled as escapes,
  /// which JSON has only in strings.
  static func embedded(_ document: JSONValue) -> Markup {
    var out = ""
    for scalar in document.text(indented: false, hidden: .spelled).unicodeScalars {
      if "<>&".unicodeScalars.contains(scalar) {
        out += JSONWriter.spelled(scalar)
      } else {
        out.unicodeScalars.append(scalar)
      }
    }
    return Markup(trusted: out)
  }
}

/// A part of the page under a heading.
struct PageSection {
  let id: String
  let title: String
  let content: Markup

  var html: Markup { "<section id=\"\(id)\">\n<h2>\(title)</h2>\n\(content)</section>\n" }

  /// Those that the document has something for.
  static func all(of document: JSONValue) -> [PageSection] {
    let sections = [
      PageSection(id: "gates", title: "Gates", content: Overview.gates(document)),
      PageSection(id: "predictions", title: "Predictions at masked positions", content: PredictionPart.html(document)),
      PageSection(id: "worst", title: "Where it drifts most", content: WorstPart.html(document)),
      PageSection(id: "inside", title: "Inside the model", content: InsidePart.html(document)),
      PageSection(id: "decoding", title: "Free decoding", content: DecodingPart.html(document)),
      PageSection(id: "tasks", title: "Tasks and preferences", content: TaskPart.html(document)),
      PageSection(id: "weights", title: "Weights", content: WeightPart.html(document)),
      PageSection(id: "provenance", title: "What was compared, and how", content: ProvenancePart.html(document)),
      PageSection(id: "numbers", title: "All numbers", content: Listing.html(document)),
    ]
    return sections.filter { !$0.content.isEmpty }
  }
}

package import Drift
import JSON

/// A drift report as one HTML page that needs nothing else: no network, no fonts, and no script but for sorting tables.
///
/// All text of the document is escaped, and a content policy lets only the page's own script run.
package enum DriftPage {
  /// What the report lacks is left out.
  package static func html(_ report: DriftReport) -> String {
    let sections = PageSection.all(of: report)
    let title = "Drift of \(name(report.candidate))"
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
      \(Overview.html(report, sections: sections))<main>
      \(sections.map(\.html))<footer>Written by ingot \(report.ingot). The whole document is in this page, as \
      <code>script#document</code>, schema <code>\(report.schema)</code>.</footer>
      </main>
      <script type="application/json" id="document">\(embedded(report.json))</script>
      <script>\(Markup(trusted: PageScript.text))</script>
      </body>
      </html>

      """
    return page.html
  }

  /// The last part of a model's path.
  static func name(_ model: DriftReport.Model) -> String {
    model.path.split(separator: "/").last.map(String.init) ?? model.path
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

  /// Those that the report has something for.
  static func all(of report: DriftReport) -> [PageSection] {
    let sections = [
      PageSection(id: "gates", title: "Gates", content: Overview.gates(report.verdict.gates)),
      PageSection(id: "versus", title: "Beside another candidate", content: VersusPart.html(report.versus)),
      PageSection(
        id: "predictions", title: "Predictions at \(report.scoredKind) positions", content: PredictionPart.html(report)),
      PageSection(id: "worst", title: "Where it drifts most", content: WorstPart.html(report)),
      PageSection(id: "inside", title: "Inside the model", content: InsidePart.html(report)),
      PageSection(id: "decoding", title: "Free decoding", content: DecodingPart.html(report)),
      PageSection(id: "tasks", title: "Tasks and preferences", content: TaskPart.html(report)),
      PageSection(id: "weights", title: "Weights", content: WeightPart.html(report.weights)),
      PageSection(id: "provenance", title: "What was compared, and how", content: ProvenancePart.html(report)),
      PageSection(id: "numbers", title: "All numbers", content: Listing.html(report.json)),
    ]
    return sections.filter { !$0.content.isEmpty }
  }
}

import Drift

/// A table: its columns, and rows of cells that know how they sort.
struct PageTable {
  struct Cell {
    let content: Markup
    /// What the column is sorted by; nil where the text itself will do.
    var order: Double?
    var isNumber = false

    static func text(_ text: String) -> Cell { Cell(content: Markup(text: text)) }
    static func count(_ value: Int?) -> Cell { number(value.map(Double.init)) { PageNumber.count(Int($0)) } }
    static func nats(_ value: Double?) -> Cell { number(value, PageNumber.nats) }
    static func percent(_ value: Double?) -> Cell { number(value, PageNumber.percent) }

    /// Empty where there is no number.
    static func number(_ value: Double?, _ write: (Double) -> String) -> Cell {
      guard let value else { return Cell(content: "", isNumber: true) }
      return Cell(content: Markup(text: write(value)), order: value, isNumber: true)
    }

    /// A mean and, small, its interval.
    static func estimate(_ estimate: Estimate?, _ write: (Double) -> String = PageNumber.nats) -> Cell {
      guard let estimate else { return Cell(content: "", isNumber: true) }
      guard let interval = estimate.ci95 else { return number(estimate.mean, write) }
      let bounds = "\(write(interval.lowerBound)) to \(write(interval.upperBound))"
      return Cell(
        content: "\(write(estimate.mean)) <small class=\"ci\">\(bounds)</small>", order: estimate.mean, isNumber: true)
    }

    fileprivate var html: Markup {
      let order: Markup = order.map { " data-v=\"\(String($0))\"" } ?? ""
      let kind: Markup = isNumber ? " class=\"n\"" : ""
      return "<td\(kind)\(order)>\(content)</td>"
    }
  }

  var columns: [String]
  var rows: [[Cell]]
  /// For who hears the page.
  var caption: String

  /// Columns without any content are left out.
  var html: Markup {
    let kept = columns.indices.filter { column in
      rows.contains { $0.indices.contains(column) && !$0[column].content.isEmpty }
    }
    let head = kept.map { column -> Markup in
      let isNumber = rows.contains { $0.indices.contains(column) && $0[column].isNumber }
      let kind: Markup = isNumber ? " class=\"n\"" : ""
      return "<th scope=\"col\"\(kind)>\(columns[column])</th>"
    }
    let body = rows.map { row -> Markup in
      let cells = kept.map { row.indices.contains($0) ? row[$0].html : "<td></td>" }
      return "<tr>\(cells)</tr>\n"
    }
    return """
      <div class="scroll" tabindex="0" role="region" aria-label="\(caption)"><table class="sortable">
      <caption class="unseen">\(caption)</caption>
      <thead><tr>\(head)</tr></thead>
      <tbody>
      \(body)</tbody></table></div>

      """
  }
}

import Journals
package import JSON
package import Storage

/// Which part of the measuring a process does: every `count`-th group of prompts, from `index` on.
package struct Share: Sendable, Equatable {
  package let index: Int
  package let count: Int

  /// - Precondition: 0 ≤ index < count.
  package init(index: Int, count: Int) {
    precondition((0..<count).contains(index))
    self.index = index
    self.count = count
  }

  func measures(group: Int) -> Bool { group % count == index }
  /// What is not of groups is done by the part that has the fewest of them.
  var measuresModels: Bool { index == count - 1 }

  var json: JSONValue { ["index": JSONValue(index), "of": JSONValue(count)] }
}

/// What becomes of what was measured, beside the report.
package enum Keeping: Sendable {
  case nothing
  /// A journal beside the report takes it, and whoever comes again goes on behind it.
  case journal(JournalPlace)
  /// A part takes it, in place of a report, which others make of all parts.
  ///
  /// - Parameter journal: that of the part, if it has one.
  case part(Share, path: String, replaces: Bool, journal: JournalPlace?)
  /// Parts hold it.
  case parts([String])
}

/// Where a journal lies, and what must be as it was when it was begun.
package struct JournalPlace: Sendable {
  let path: String
  /// Files of the models.
  let source: JSONValue

  package init(path: String, source: JSONValue) {
    self.path = path
    self.source = source
  }
}

/// Why parts do not make a report.
package enum ReportPartError: Error, Sendable, Equatable {
  case file(FileError)
  /// A file of something else.
  case foreign(path: String)
  case version(String, path: String)
  case broken(String, path: String)
  /// A part of another run: the first thing that differs, as it is here and as it is there.
  case other(String, here: String, there: String, path: String)
  /// Parts of another number of parts than the first.
  case division(Int, first: Int, path: String)
  /// A part that is there already, and is another than the one to be made.
  case otherShare(Int, of: Int, path: String)
  case repeated(index: Int, path: String, other: String)
  /// Numbers of parts that are not there, of how many.
  case missing([Int], of: Int)
}

import Drift
import JSON
import Testing

@Suite struct TaskDriftTests {
  @Test(
    "McNemar's exact p",
    arguments: [
      (0, 0, 1), (1, 0, 1), (1, 1, 1), (5, 0, 0.0625), (0, 5, 0.0625), (6, 0, 0.03125), (3, 1, 0.625),
      (10, 2, 158.0 / 4096), (500, 500, 1),
    ] as [(Int, Int, Double)])
  func mcNemar(lost: Int, gained: Int, p: Double) {
    // 10 : 2 is 2 · (1 + 12 + 66) / 2¹².
    #expect(abs(TaskDrift.mcNemar(lost: lost, gained: gained) - p) < 1e-12)
  }

  @Test func mcNemarOfThousands() {
    let p = TaskDrift.mcNemar(lost: 1100, gained: 1000)
    // Normal approximation with continuity correction: z = 99 / √2100, p ≈ 0.0307.
    #expect(abs(p - 0.0307) < 2e-4)
    #expect(TaskDrift.mcNemar(lost: 2000, gained: 0) == 0)
  }

  private func row(_ reference: Bool, _ candidate: Bool, task: String? = nil, cut: Bool = false) -> TaskDrift.Row {
    TaskDrift.Row(
      task: task, reference: .init(isCorrect: reference, isTruncated: false),
      candidate: .init(isCorrect: candidate, isTruncated: cut))
  }

  private func json(_ rows: [TaskDrift.Row]) throws -> JSONObject {
    try #require(JSONValue(encoding: TaskDrift(rows, match: .numeric).section(seed: 1)).object)
  }

  @Test("lost and gained, by task, and whether it is significant")
  func counts() throws {
    let lost = Array(repeating: row(true, false, task: "b", cut: true), count: 6)
    let rest = [row(true, true, task: "a"), row(false, false, task: "a"), row(true, true), row(true, true, task: "b")]
    let document = try json(lost + rest)
    #expect(number(document, "prompts") == 10 && document["match"] == "numeric")
    #expect(number(document, "reference_correct.mean") == 0.9 && number(document, "candidate_correct.mean") == 0.3)
    #expect(["both", "neither", "lost", "gained"].map { number(document, $0) } == [3, 1, 6, 0])
    #expect(abs((number(document, "p") ?? 0) - 0.03125) < 1e-12 && number(document, "lost_significantly") == 1)
    #expect(number(document, "truncated.reference") == 0 && number(document, "truncated.candidate") == 0.6)
    #expect(
      document["by_task"] == [
        ["task": "b", "prompts": 7, "reference_correct": 7, "candidate_correct": 1, "lost": 6, "gained": 0],
        ["task": "a", "prompts": 2, "reference_correct": 1, "candidate_correct": 1, "lost": 0, "gained": 0],
      ])
  }

  @Test("five of five are not significant, nor are six gained")
  func significance() throws {
    #expect(number(try json(Array(repeating: row(true, false), count: 5)), "lost_significantly") == 0)
    #expect(number(try json(Array(repeating: row(false, true), count: 6)), "lost_significantly") == 0)
    #expect(number(try json([row(true, true)]), "p") == 1)
    #expect(TaskDrift([], match: .exact).section(seed: 1) == nil)
  }

  private func accepts(_ match: AnswerMatch, _ answer: String, _ text: String) throws -> Bool {
    try AnswerCheck(match, answer: answer, line: 1).accepts(text)
  }

  @Test func exact() throws {
    #expect(try accepts(.exact, " Paris\n", "\tParis ") && accepts(.exact, "", " \n"))
    #expect(try !accepts(.exact, "Paris", "paris") && !accepts(.exact, "a b", "a  b"))
  }

  @Test func contains() throws {
    #expect(try accepts(.contains, "Paris ", "It is Paris.") && !accepts(.contains, "Paris", "It is Rome."))
    #expect(throws: AnswerError.empty(line: 4)) { _ = try AnswerCheck(.contains, answer: " ", line: 4) }
  }

  @Test(
    "numbers are compared by value: the one right behind ####, or else the last",
    arguments: [
      ("42", "So 6 · 7 = 42.", true), ("1234", "1,234", true), ("1234567", "it is 1,234,567.", true),
      ("#### 3", "3.0", true), ("-2", "x = -2", true), ("-2", "x = −2", true), ("2", "7-2", true), ("5", "+5", true),
      ("0.5", ".5", true), ("3", "1, 2, 3", true), ("123", "1,2,3", true), ("42", "43", false), ("42", "none", false),
      ("2", "-2", false), ("4", "GPT-4", true), ("12", "12, that is", true), ("3.14", "3.14", true),
      ("48/2=<<48/2=24>>24\n48+24=72\n#### 72", "She sold 72.", true), ("#### 1,200", "#### $1,200.", true),
      ("#### 72", "#### 72\n\nQuestion: 5 apples? #### 5", true), ("#### 72", "72 so far\n#### 71", false),
      ("#### -5", "-$5", true), ("#### 10", "It costs $10.00.", true), ("#### 3", "#### none\nIt is 3", true),
      ("#### 42", "#### Step 1: add\n#### Step 2: so it is 42", true),
      ("#### 42", "#### Step 1\n20 + 22 = 42\n#### 42.\nNext: 7", true), ("#### 2", "#### 2. The sum is 42", true),
      ("#### -42", "#### -42.", true), ("#### -42", "#### -$42", true), ("#### 42", "#### -42", false),
      ("#### 100000", "#### 1,00,000", true), ("#### 1234.5", "#### $1,234.50 in all, of 7", true),
      ("#### 5", "####5 and 6", false), ("#### 6", "####5 and 6", true), ("#### 5", "####   5 of 6", true),
    ])
  func numeric(answer: String, text: String, isRight: Bool) throws {
    #expect(try accepts(.numeric, answer, text) == isRight)
  }

  @Test func numberMissing() {
    #expect(throws: AnswerError.noNumber(line: 7)) { _ = try AnswerCheck(.numeric, answer: "none", line: 7) }
  }

  @Test func regex() throws {
    #expect(try accepts(.regex, "^(yes|yep)\\b", "yes, it is") && !accepts(.regex, "^(yes|yep)\\b", "oh yes"))
    #expect(try accepts(.regex, "colou?r", "the color"))
    #expect(throws: AnswerError.empty(line: 2)) { _ = try AnswerCheck(.regex, answer: "", line: 2) }
    let refused = #expect(throws: AnswerError.self) { _ = try AnswerCheck(.regex, answer: "(a", line: 9) }
    guard case .invalidPattern(line: 9, _) = refused else {
      Issue.record("\(String(describing: refused))")
      return
    }
  }
}

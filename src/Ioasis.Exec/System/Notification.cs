using System.Runtime.InteropServices;

namespace Ioasis.Exec;

/// <summary><c>struct seccomp_notif</c>: a system call that waits for an answer.</summary>
[StructLayout(LayoutKind.Explicit, Size = 80)]
internal struct Notification
{
    /// <summary>Names the call until it is answered.</summary>
    [FieldOffset(0)] public ulong Id;

    /// <summary>The thread that made it.</summary>
    [FieldOffset(8)] public int Thread;

    /// <summary>Which call.</summary>
    [FieldOffset(16)] public int Number;

    [FieldOffset(32)] public ulong Argument0;
    [FieldOffset(40)] public ulong Argument1;
    [FieldOffset(48)] public ulong Argument2;
    [FieldOffset(56)] public ulong Argument3;
    [FieldOffset(64)] public ulong Argument4;
    [FieldOffset(72)] public ulong Argument5;
}

/// <summary>The answer to a system call.</summary>
/// <param name="Value">Its result, or <c>-errno</c>.</param>
/// <param name="Kind">Who gives it.</param>
internal readonly record struct Answer(long Value, AnswerKind Kind)
{
    /// <summary>The kernel of the machine makes the call, as if nobody had looked.</summary>
    public static Answer Continue { get; } = new(0, AnswerKind.Continue);

    /// <summary>A result, or <c>-errno</c>.</summary>
    public static Answer Of(long value) => new(value, AnswerKind.Result);

    /// <summary>An error.</summary>
    public static Answer Of(Primitives.Errno error) => new(-(int)error, AnswerKind.Result);

    /// <summary>Whether it is this error, given by us.</summary>
    public bool IsError(Primitives.Errno error) => Kind == AnswerKind.Result && Value == -(int)error;
}

/// <summary>Who answers a system call.</summary>
internal enum AnswerKind
{
    /// <summary>We: the value is the result.</summary>
    Result,

    /// <summary>The kernel of the machine.</summary>
    Continue,
}

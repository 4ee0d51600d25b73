using System.Runtime.InteropServices;

namespace Ioasis.Exec;

/// <summary>Numbers of the system calls that the filter knows (x86-64).</summary>
internal static class CallNumber
{
    public const int Read = 0;
    public const int Write = 1;
    public const int Open = 2;
    public const int Stat = 4;
    public const int FStat = 5;
    public const int LStat = 6;
    public const int Map = 9;
    public const int Unmap = 11;
    public const int Break = 12;
    public const int Ioctl = 16;
    public const int ReadAt = 17;
    public const int WriteAt = 18;
    public const int Access = 21;
    public const int Remap = 25;
    public const int Advise = 28;
    public const int Execute = 59;
    public const int DetachShared = 67;
    public const int ReadLink = 89;
    public const int ChangeMode = 90;
    public const int ChangeOwner = 92;
    public const int ChangeLinkOwner = 94;
    public const int GetAttribute = 191;
    public const int GetLinkAttribute = 192;
    public const int ListAttributes = 194;
    public const int ListLinkAttributes = 195;
    public const int OpenAt = 257;
    public const int ChangeOwnerAt = 260;
    public const int StatAt = 262;
    public const int ReadLinkAt = 267;
    public const int ChangeModeAt = 268;
    public const int AccessAt = 269;
    public const int ExecuteAt = 322;
    public const int Statx = 332;
    public const int OpenAt2 = 437;
    public const int AccessAt2 = 439;
}

/// <summary>
/// The filter under which a program runs: which of its system calls come to us. As few as can be: an ioctl only with VFIO's and iommufd's
/// type, a read or write only of what a register, a queue of events or a configuration space can be, a mapping only of a file, shared, or
/// one that takes the place of another; and what takes memory away, for devices may have it (<see cref="MemoryCalls"/>).
/// </summary>
internal sealed unsafe class CallFilter
{
    /// <summary>Reads and writes by position beyond this size are never ours.</summary>
    public const int LargestTransfer = 4096;

    private const uint ArchitectureX64 = 0xc000_003e;
    private const uint Allow = 0x7fff_0000;
    private const uint Notify = 0x7fc0_0000;
    private const ushort LoadWord = 0x20;
    private const ushort JumpEqual = 0x15;
    private const ushort JumpGreater = 0x25;
    private const ushort JumpGreaterOrEqual = 0x35;
    private const ushort JumpSet = 0x45;
    private const ushort And = 0x54;
    private const ushort Return = 0x06;
    private const uint NumberOffset = 0;
    private const uint ArchitectureOffset = 4;

    // Each call is compared in turn and jumps to a block of its own, or over it.
    private readonly List<Instruction> _code = [];

    private CallFilter()
    {
        Add(LoadWord, ArchitectureOffset);
        Add(JumpEqual, ArchitectureX64, 1, 0);
        Add(Return, Allow);
        Add(LoadWord, NumberOffset);

        // ioctl: the type is in bits 15:8 of the request.
        Block(CallNumber.Ioctl,
        [
            new(LoadWord, Low(1)),
            new(And, 0xff00),
            new(JumpEqual, 0x3b00, 0, 1),
            new(Return, Notify),
            new(Return, Allow),
        ]);
        foreach (int call in (ReadOnlySpan<int>)[CallNumber.Read, CallNumber.Write])
        {
            // Not the standard streams, not files in bulk.
            Block(call,
            [
                new(LoadWord, Low(0)),
                new(JumpGreater, 2, 0, 5),
                new(LoadWord, High(2)),
                new(JumpEqual, 0, 0, 3),
                new(LoadWord, Low(2)),
                new(JumpGreater, LargestTransfer, 1, 0),
                new(Return, Notify),
                new(Return, Allow),
            ]);
        }

        foreach (int call in (ReadOnlySpan<int>)[CallNumber.ReadAt, CallNumber.WriteAt])
        {
            Block(call, [new(LoadWord, Low(0)), new(JumpGreater, 2, 0, 1), new(Return, Notify), new(Return, Allow)]);
        }

        // mmap: at a fixed place, or shared (also with validation) and of a file.
        Block(CallNumber.Map,
        [
            new(LoadWord, Low(3)),
            new(JumpSet, MemoryCalls.Fixed, 4, 0),
            new(JumpSet, 0x20, 4, 0),
            new(JumpSet, 1, 0, 3),
            new(LoadWord, Low(4)),
            new(JumpGreaterOrEqual, 0x8000_0000, 1, 0),
            new(Return, Notify),
            new(Return, Allow),
        ]);

        // madvise: what drops pages at once.
        Block(CallNumber.Advise,
        [
            new(LoadWord, Low(2)),
            new(JumpEqual, MemoryCalls.DropPages, 4, 0),
            new(JumpEqual, MemoryCalls.RemovePages, 3, 0),
            new(JumpEqual, MemoryCalls.DropLockedPages, 2, 0),
            new(JumpEqual, MemoryCalls.GuardPages, 1, 0),
            new(Return, Allow),
            new(Return, Notify),
        ]);

        ReadOnlySpan<int> always =
        [
            CallNumber.OpenAt, CallNumber.StatAt, CallNumber.FStat, CallNumber.Statx, CallNumber.Open, CallNumber.Stat, CallNumber.LStat,
            CallNumber.Access, CallNumber.AccessAt, CallNumber.AccessAt2, CallNumber.ReadLink, CallNumber.ReadLinkAt, CallNumber.OpenAt2,
            CallNumber.Execute, CallNumber.ExecuteAt, CallNumber.ChangeMode, CallNumber.ChangeOwner, CallNumber.ChangeLinkOwner,
            CallNumber.ChangeOwnerAt, CallNumber.ChangeModeAt, CallNumber.GetAttribute, CallNumber.GetLinkAttribute,
            CallNumber.ListAttributes, CallNumber.ListLinkAttributes, CallNumber.Unmap, CallNumber.Remap, CallNumber.Break, CallNumber.DetachShared,
        ];
        foreach (int call in always)
        {
            Block(call, [new(Return, Notify)]);
        }

        Add(Return, Allow);
    }

    /// <summary>The program's code, in memory that stays.</summary>
    public static CallProgram Compile()
    {
        CallFilter filter = new();
        Instruction* code = (Instruction*)NativeMemory.Alloc((nuint)filter._code.Count, (nuint)sizeof(Instruction));
        CollectionsMarshal.AsSpan(filter._code).CopyTo(new(code, filter._code.Count));
        return new((ushort)filter._code.Count, (nint)code);
    }

    private static uint Low(int argument) => 16 + (8 * (uint)argument);

    private static uint High(int argument) => Low(argument) + 4;

    private void Block(int call, Instruction[] body)
    {
        Add(JumpEqual, (uint)call, 0, (byte)body.Length);
        _code.AddRange(body);
    }

    private void Add(ushort code, uint value, byte ifTrue = 0, byte ifFalse = 0) => _code.Add(new(code, value, ifTrue, ifFalse));

    // struct sock_filter.
    [StructLayout(LayoutKind.Explicit, Size = 8)]
    private readonly struct Instruction(ushort code, uint value, byte ifTrue = 0, byte ifFalse = 0)
    {
        [FieldOffset(0)] private readonly ushort _code = code;
        [FieldOffset(2)] private readonly byte _ifTrue = ifTrue;
        [FieldOffset(3)] private readonly byte _ifFalse = ifFalse;
        [FieldOffset(4)] private readonly uint _value = value;
    }
}

/// <summary><c>struct sock_fprog</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 16)]
internal readonly struct CallProgram(ushort length, nint code)
{
    [FieldOffset(0)] public readonly ushort Length = length;
    [FieldOffset(8)] public readonly nint Code = code;
}

using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Kernel;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Exec;

/// <summary>
/// Registers that a program maps: their pages are beyond the end of the device's file, so that each access stops the thread (SIGBUS), and is
/// then made at the device's model, with its own size, before the thread goes on. Exact, and some microseconds each.
/// </summary>
internal sealed class RegisterTraps(Processes processes, HandleTable handles)
{
    private const int LongestInstruction = 15;
    private const int PciBars = 6;
    private const int LargestVector = 64;
    private const int XStateBytes = 16384;
    private const ulong PageSize = 4096;

    /// <summary>Begins to take the accesses of a process that stop its threads; set before the program starts.</summary>
    public Func<int, Errno>? Watcher { get; set; }

    /// <summary>Whether a region of a device can be mapped so: whole pages of a base address register in memory space.</summary>
    public static bool CanMap(KernelProcess kernel, int descriptor, ulong offset, ulong length)
    {
        ulong index = offset >> 40;
        VfioRegionInfo info = new() { Argsz = (uint)Unsafe.SizeOf<VfioRegionInfo>(), Index = (uint)index };
        if (index >= PciBars
            || kernel.Ioctl(descriptor, VfioRequests.DeviceGetRegionInfo, MemoryMarshal.AsBytes(new Span<VfioRegionInfo>(ref info))) < 0)
        {
            return false;
        }

        ulong within = offset & ((1ul << 40) - 1);
        return within <= info.Size && length <= info.Size - within && IsMemory(kernel, descriptor, (int)index);
    }

    /// <summary>Whether a base address register is in memory space.</summary>
    public static bool IsMemory(KernelProcess kernel, int descriptor, int index)
    {
        byte low = 1;
        return kernel.Read(descriptor, new Span<byte>(ref low), (7ul << 40) + 0x10 + (4 * (ulong)index)) == 1 && (low & 1) == 0;
    }

    /// <summary>Begins to take the accesses of a process.</summary>
    public Errno Watch(ProgramProcess process) => Watcher?.Invoke(process.Id) ?? Errno.InvalidArgument;

    /// <summary>Makes an access that stopped a thread.</summary>
    /// <param name="thread">The thread.</param>
    /// <param name="address">What it accesses.</param>
    /// <param name="registers">Its registers; afterwards as the instruction leaves them.</param>
    /// <param name="vectors">Its vector registers, as XSAVE has them; empty if they are to be asked for by ptrace.</param>
    /// <returns>Whether it is one that is known, of a device.</returns>
    public bool CarryOut(int thread, ulong address, ref Registers registers, Span<byte> vectors)
    {
        Span<byte> code = stackalloc byte[LongestInstruction];
        if (processes.Find(thread, out ProgramProcess? process) != Errno.Success)
        {
            return false;
        }

        code = code[..(int)Math.Max(0, SystemCalls.ReadProcess(thread, registers.InstructionPointer, code))];
        if (BlockStore.TryDecode(code, out BlockStore block))
        {
            return StoreBlock(process!, block, ref registers);
        }

        if (!TryFind(process!, address, out Place place) || !Instruction.TryDecode(code, out Instruction instruction))
        {
            return false;
        }

        switch (instruction.Action)
        {
            case MemoryAction.LoadVector or MemoryAction.StoreVector:
                if (!MoveVector(thread, place, instruction, vectors))
                {
                    return false;
                }

                break;
            case MemoryAction.MoveString or MemoryAction.StoreString or MemoryAction.LoadString:
                return MoveString(process!, address, instruction, ref registers);
            default:
                MoveOrCombine(place, instruction, ref registers);
                break;
        }

        registers.InstructionPointer += (ulong)instruction.Length;
        return true;
    }

    // The device gets the 64 bytes at once. A processor that does not know the instruction stops at it too.
    private bool StoreBlock(ProgramProcess process, in BlockStore block, ref Registers registers)
    {
        Span<byte> bytes = stackalloc byte[BlockStore.Size];
        ulong destination = registers.DestinationOf(block);
        if (destination % BlockStore.Size != 0
            || !TryFind(process, destination, out Place place)
            || process.Memory.Read(registers.SourceOf(block), bytes) != Errno.Success)
        {
            return false;
        }

        if (block.IsCommand)
        {
            int result = place.Kernel.Submit(place.Descriptor, bytes, place.Offset);
            if (result is not (0 or -(int)Errno.TryAgain))
            {
                return false;
            }

            registers.SetDeferred(result != 0);
        }
        else if (!TryWriteDevice(process, destination, bytes))
        {
            return false;
        }

        registers.InstructionPointer += (ulong)block.Length;
        return true;
    }

    private static void MoveOrCombine(in Place place, in Instruction instruction, ref Registers registers)
    {
        ulong operand = instruction.Action == MemoryAction.Load ? 0 : registers.Operand(instruction);
        ulong value = instruction.Action == MemoryAction.Store ? 0 : Read(place, instruction.Size);
        switch (instruction.Action)
        {
            case MemoryAction.Load:
                registers.Load(instruction, value);
                break;
            case MemoryAction.Store:
                Write(place, instruction.Size, operand);
                break;
            case MemoryAction.Exchange:
                Write(place, instruction.Size, operand);
                registers.Load(instruction, value);
                break;
            default:
                ulong result = instruction.ToRegister
                    ? registers.Combine(instruction, operand, value)
                    : registers.Combine(instruction, value, operand);
                if (instruction.Operation < 7)
                {
                    if (instruction.ToRegister)
                    {
                        registers.Load(instruction, result);
                    }
                    else
                    {
                        Write(place, instruction.Size, result);
                    }
                }

                break;
        }
    }

    private static unsafe bool MoveVector(int thread, in Place place, in Instruction instruction, Span<byte> vectors)
    {
        const int GetRegisterSet = 0x4204;
        const int SetRegisterSet = 0x4205;
        const int XState = 0x202;
        Span<byte> operand = stackalloc byte[LargestVector];
        operand = operand[..instruction.Size];
        nint* vector = stackalloc nint[2];
        bool isTraced = vectors.IsEmpty;
        if (isTraced)
        {
            byte* area = stackalloc byte[XStateBytes];
            vector[0] = (nint)area;
            vector[1] = XStateBytes;
            if (SystemCalls.Trace(GetRegisterSet, thread, XState, (nint)vector) < 0)
            {
                return false;
            }

            vectors = new(area, (int)vector[1]);
        }

        VectorState state = new(vectors);
        if (instruction.Action == MemoryAction.StoreVector)
        {
            if (!state.TryRead(instruction.Register, instruction.VectorOffset, operand))
            {
                return false;
            }

            _ = place.Kernel.Write(place.Descriptor, operand, place.Offset);
            return true;
        }

        // Whether there is such a register is asked before the device is: its answer may change it.
        if (!state.TryRead(instruction.Register, instruction.VectorOffset, operand))
        {
            return false;
        }

        Read(place, operand);
        return state.TryWrite(instruction.Register, instruction.VectorOffset, operand, instruction.ClearTo)
            && (!isTraced || SystemCalls.Trace(SetRegisterSet, thread, XState, (nint)vector) == 0);
    }

    // As many moves as stay in the page: each would stop the thread again.
    private bool MoveString(ProgramProcess process, ulong address, in Instruction instruction, ref Registers registers)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        Span<byte> part = bytes[..instruction.Size];
        bool isFirst = true;
        bool readsDevice = instruction.Action != MemoryAction.StoreString && registers.Source == address;
        ulong place = address;
        do
        {
            bytes.Clear();
            bool moved = instruction.Action == MemoryAction.StoreString
                || (readsDevice ? TryReadDevice(process, registers.Source, part) : process.Memory.Read(registers.Source, part) == Errno.Success);
            if (moved && instruction.Action == MemoryAction.LoadString)
            {
                registers.Load(instruction, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
            }
            else if (moved)
            {
                if (instruction.Action == MemoryAction.StoreString)
                {
                    BinaryPrimitives.WriteUInt64LittleEndian(bytes, registers.Accumulator);
                }

                moved = (readsDevice && process.Memory.Write(registers.Destination, part) == Errno.Success)
                    || TryWriteDevice(process, registers.Destination, part);
            }

            // What cannot be moved later stops the thread there.
            if (!moved)
            {
                return !isFirst;
            }

            isFirst = false;
            if (!registers.Advance(instruction))
            {
                return true;
            }

            place = readsDevice ? registers.Source : registers.Destination;
        }
        while ((place ^ address) < PageSize);
        return true;
    }

    private bool TryReadDevice(ProgramProcess process, ulong address, Span<byte> destination)
    {
        if (!TryFind(process, address, out Place place))
        {
            return false;
        }

        Read(place, destination);
        return true;
    }

    private bool TryWriteDevice(ProgramProcess process, ulong address, ReadOnlySpan<byte> source)
    {
        if (!TryFind(process, address, out Place place))
        {
            return false;
        }

        _ = place.Kernel.Write(place.Descriptor, source, place.Offset);
        return true;
    }

    private bool TryFind(ProgramProcess process, ulong address, out Place place)
    {
        place = default;
        if (!process.Memory.TryFindFile(address, out FileIdentity file, out ulong offset)
            || handles.Find(file) is not { Kind: HandleKind.Device } handle
            || process.Find(handle, handles.Holder) is not (>= 0 and var descriptor))
        {
            return false;
        }

        place = new(process.Kernel, descriptor, offset);
        return true;
    }

    private static ulong Read(in Place place, int size)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        bytes.Clear();
        Read(place, bytes[..size]);
        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }

    // What does not answer reads as ones, as on a bus.
    private static void Read(in Place place, Span<byte> destination)
    {
        nint count = place.Kernel.Read(place.Descriptor, destination, place.Offset);
        destination[(int)Math.Max(0, count)..].Fill(0xff);
    }

    private static void Write(in Place place, int size, ulong value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        _ = place.Kernel.Write(place.Descriptor, bytes[..size], place.Offset);
    }

    // A place in a device, as our kernel names it.
    private readonly record struct Place(KernelProcess Kernel, int Descriptor, ulong Offset);
}

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
    public bool CarryOut(int thread, ulong address, ref Registers registers)
    {
        Span<byte> code = stackalloc byte[LongestInstruction];
        if (processes.Find(thread, out ProgramProcess? process) != Errno.Success
            || !process!.Memory.TryFindFile(address, out FileIdentity file, out ulong offset)
            || handles.Find(file) is not { Kind: HandleKind.Device } handle
            || process.Find(handle, handles.Holder) is not (>= 0 and var descriptor))
        {
            return false;
        }

        nint fetched = SystemCalls.ReadProcess(thread, registers.InstructionPointer, code);
        if (fetched <= 0 || !Instruction.TryDecode(code[..(int)fetched], out Instruction instruction))
        {
            return false;
        }

        ulong operand = instruction.Action == MemoryAction.Load ? 0 : registers.Operand(instruction);
        ulong value = instruction.Action == MemoryAction.Store ? 0 : Read(process.Kernel, descriptor, offset, instruction.Size);
        switch (instruction.Action)
        {
            case MemoryAction.Load:
                registers.Load(instruction, value);
                break;
            case MemoryAction.Store:
                Write(process.Kernel, descriptor, offset, instruction.Size, operand);
                break;
            case MemoryAction.Exchange:
                Write(process.Kernel, descriptor, offset, instruction.Size, operand);
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
                        Write(process.Kernel, descriptor, offset, instruction.Size, result);
                    }
                }

                break;
        }

        registers.InstructionPointer += (ulong)instruction.Length;
        return true;
    }

    // What does not answer reads as ones, as on a bus.
    private static ulong Read(KernelProcess kernel, int descriptor, ulong offset, int size)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        bytes.Clear();
        return kernel.Read(descriptor, bytes[..size], offset) == size ? BinaryPrimitives.ReadUInt64LittleEndian(bytes) : ulong.MaxValue;
    }

    private static void Write(KernelProcess kernel, int descriptor, ulong offset, int size, ulong value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        _ = kernel.Write(descriptor, bytes[..size], offset);
    }
}

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Ioasis.Embedded.Sanitizing;
using Ioasis.Exec.Sanitizing;
using Ioasis.Kernel;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Ioasis.VfioUser;

namespace Ioasis.Exec;

/// <summary>
/// Ioctls of descriptors that are ours: the argument is copied from the program, descriptors in it become those of our kernel, and what the
/// call changed is copied back.
/// </summary>
internal sealed class IoctlCalls(EventLoop loop, MemoryFiles files, IommufdExtension? extension = null, ProgramSanitizer? sanitizer = null)
{
    // Larger arguments are those of nobody; what lies beyond counts as memory that is not there.
    private const int LargestArgument = 65536;

    // What a call reads before it looks at the size that the argument names.
    private const int LeastArgument = 256;
    private const int NoSuchDescriptor = int.MaxValue;
    private const string ExtensionName = "anon_inode:[iommufd-extension]";

    [ThreadStatic]
    private static byte[]? t_argument;

    [ThreadStatic]
    private static byte[]? t_before;

    private readonly ProgramCounters _counters = new(loop);

    private enum Form
    {
        Number,
        Structure,
        Text,
    }

    /// <summary>The call.</summary>
    public Answer Call(in Caller caller, int descriptor, uint request, ulong argument)
    {
        if (caller.FindHandle(descriptor) is not { } handle)
        {
            return Answer.Continue;
        }

        if (!FileCalls.TryEnter(caller, handle, out ProgramProcess? process, out int opened, out Answer answer))
        {
            return answer;
        }

        Form form = FormOf(handle.Kind, request);
        if (form == Form.Number)
        {
            return Answer.Of(process!.Kernel.Ioctl(opened, request, (nint)argument));
        }

        byte[] buffer = t_argument ??= GC.AllocateArray<byte>(LargestArgument, pinned: true);
        byte[] before = t_before ??= new byte[LargestArgument];
        Span<byte> bytes = buffer.AsSpan(0, Math.Max(0, Take(caller, form, argument, buffer)));
        bytes.CopyTo(before);

        sanitizer?.Drain();
        bool forgets = DmaJournal.Forgets(request);
        if (!forgets)
        {
            sanitizer?.Called(caller.Thread);
        }

        ExtensionDescriptors extended = handle.Kind == HandleKind.Iommu ? extension?.FindDescriptors(request, bytes) ?? default : default;
        Temporary temporary = new(process!.Kernel);
        try
        {
            int result;
            if (extended.In is not null || HasDescriptors(handle.Kind, request, bytes))
            {
                // Descriptors that were replaced are the program's own again before anything is copied back.
                if (extended.In is { } given)
                {
                    ReplaceAt(caller, process, bytes, given, ref temporary);
                }
                else
                {
                    Replace(caller, process, handle.Kind, request, bytes, ref temporary);
                }

                byte[] sent = bytes.ToArray();
                result = CarryOut(process.Kernel, opened, request, bytes);
                RestoreUnchanged(bytes, sent, before);
            }
            else
            {
                result = CarryOut(process.Kernel, opened, request, bytes);
            }

            if (forgets)
            {
                sanitizer?.Forgot(caller.Thread, process, request, bytes);
            }

            sanitizer?.Called(caller, process, handle, request, before.AsSpan(0, bytes.Length), bytes, result);
            if (result >= 0 && extended.IsResult)
            {
                return GiveNew(caller, process, HandleKind.Extension, result, ExtensionName);
            }

            if (result >= 0 && extended.Out is { } place)
            {
                int given = GiveAt(caller, process, HandleKind.Extension, bytes, place, ExtensionName);
                result = given < 0 ? given : result;
            }

            return Finish(caller, process, handle, request, argument, bytes, before, opened, result);
        }
        finally
        {
            temporary.Dispose();
        }
    }

    private int CarryOut(KernelProcess kernel, int opened, uint request, Span<byte> argument)
    {
        using (sanitizer?.Change())
        {
            return kernel.Ioctl(opened, request, argument);
        }
    }

    private static Form FormOf(HandleKind kind, uint request) => request switch
    {
        VfioRequests.GetApiVersion or VfioRequests.CheckExtension or VfioRequests.SetIommu => Form.Number,
        VfioRequests.GroupUnsetContainer or VfioRequests.DeviceReset => Form.Number,
        VfioRequests.GroupGetDeviceFd when kind == HandleKind.Group => Form.Text,
        _ => Form.Structure,
    };

    // As many bytes as the argument says it has, and at least as many as a call may read before it looks; fewer where memory ends.
    private static int Take(in Caller caller, Form form, ulong argument, Span<byte> buffer)
    {
        int count = (int)caller.Read(argument, buffer[..LeastArgument]);
        if (count < LeastArgument)
        {
            return count;
        }

        uint size = BinaryPrimitives.ReadUInt32LittleEndian(buffer);
        if (form == Form.Text || size <= LeastArgument)
        {
            return count;
        }

        int more = (int)Math.Min(size, LargestArgument) - count;
        return count + Math.Max(0, (int)caller.Read(argument + (uint)count, buffer.Slice(count, more)));
    }

    private static void RestoreUnchanged(Span<byte> bytes, ReadOnlySpan<byte> sent, ReadOnlySpan<byte> before)
    {
        for (int i = 0; i < bytes.Length; i++)
        {
            if (bytes[i] == sent[i])
            {
                bytes[i] = before[i];
            }
        }
    }

    private static Errno CopyBack(in Caller caller, ulong argument, ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> before)
    {
        int first = bytes.CommonPrefixLength(before[..bytes.Length]);
        if (first == bytes.Length)
        {
            return Errno.Success;
        }

        int last = bytes.Length - 1;
        while (bytes[last] == before[last])
        {
            last--;
        }

        return caller.Write(argument + (uint)first, bytes[first..(last + 1)]);
    }

    private static Answer Finish(
        in Caller caller, ProgramProcess process, Handle handle, uint request, ulong argument, Span<byte> bytes, byte[] before, int opened, int result)
    {
        if (result >= 0)
        {
            switch (request)
            {
                case VfioRequests.GroupGetDeviceFd when handle.Kind == HandleKind.Group:
                    return GiveNew(caller, process, HandleKind.Device, result, "anon_inode:[vfio-device]");
                case VfioRequests.DeviceFeature when handle.Kind == HandleKind.Device && result > 0:
                    return GiveNew(caller, process, HandleKind.DmaBuffer, result, "/dmabuf:");
                case IoasidRequests.VmCreate when handle.Kind == HandleKind.Ioasid:
                    return GiveNew(caller, process, HandleKind.VirtualMachine, result, "anon_inode:[ioasid-vm]");
                case IoasidRequests.SetEvents when handle.Kind == HandleKind.Ioasid:
                    return GiveNew(caller, process, HandleKind.Queue, result, "anon_inode:[ioasid-events]");
                case VfioRequests.DeviceGetRegionInfo when handle.Kind == HandleKind.Device:
                    OfferMapping(process.Kernel, opened, bytes);
                    break;
                case IommufdRequests.FaultQueueAlloc when handle.Kind == HandleKind.Iommu:
                    result = PlaceNew(caller, process, opened, bytes, idOffset: 8, descriptorOffset: 12, HandleTable.FaultQueue);
                    break;
                case IommufdRequests.VeventqAlloc when handle.Kind == HandleKind.Iommu:
                    result = PlaceNew(caller, process, opened, bytes, idOffset: 20, descriptorOffset: 24, "anon_inode:[iommufd-viommu-event]");
                    break;
                default:
                    break;
            }
        }

        Errno copied = CopyBack(caller, argument, bytes, before);
        return copied == Errno.Success || result < 0 ? Answer.Of(result) : Answer.Of(copied);
    }

    // Registers can be mapped, whatever the device's model offers by itself: accesses trap (RegisterTraps).
    private static void OfferMapping(KernelProcess kernel, int device, Span<byte> bytes)
    {
        uint index = BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]);
        ulong size = BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]);
        if (index < 6 && size >= 4096 && RegisterTraps.IsMemory(kernel, device, (int)index))
        {
            bytes[4] |= (byte)VfioRegionFlags.Mmap;
        }
    }

    // The result is a descriptor.
    private static Answer GiveNew(in Caller caller, ProgramProcess process, HandleKind kind, int opened, string name)
    {
        Errno error = caller.Handles.Add(kind, process.Kernel, opened, name, 0, 0, out Handle? handle, out int file);
        if (error != Errno.Success)
        {
            _ = process.Kernel.Close(opened);
            return Answer.Of(error);
        }

        process.Remember(handle!, opened);
        nint given = caller.Give(file, closeOnExec: true);
        if (given < 0)
        {
            caller.Handles.Remove(handle!);
        }

        return Answer.Of(given);
    }

    // A descriptor is in the structure; if the program cannot have it, the object goes too.
    private static int PlaceNew(
        in Caller caller, ProgramProcess process, int iommu, Span<byte> bytes, int idOffset, int descriptorOffset, string name)
    {
        uint id = BinaryPrimitives.ReadUInt32LittleEndian(bytes[idOffset..]);
        int given = GiveAt(caller, process, HandleKind.Queue, bytes, descriptorOffset, name);
        if (given < 0)
        {
            IommuDestroy destroy = new() { Size = 8, Id = id };
            _ = process.Kernel.Ioctl(iommu, IommufdRequests.Destroy, MemoryMarshal.AsBytes(new Span<IommuDestroy>(ref destroy)));
        }

        return given;
    }

    // Puts a descriptor of the program's in the place of one of our kernel's. If the program cannot have it, that is closed.
    private static int GiveAt(in Caller caller, ProgramProcess process, HandleKind kind, Span<byte> bytes, int offset, string name)
    {
        int opened = BinaryPrimitives.ReadInt32LittleEndian(bytes[offset..]);
        Errno error = caller.Handles.Add(kind, process.Kernel, opened, name, 0, 0, out Handle? handle, out int file);
        if (error != Errno.Success)
        {
            _ = process.Kernel.Close(opened);
            return -(int)error;
        }

        process.Remember(handle!, opened);
        nint given = caller.Give(file, closeOnExec: true);
        if (given < 0)
        {
            caller.Handles.Remove(handle!);
            return (int)given;
        }

        BinaryPrimitives.WriteInt32LittleEndian(bytes[offset..], (int)given);
        return 0;
    }

    private static bool HasDescriptors(HandleKind kind, uint request, ReadOnlySpan<byte> bytes) => (kind, request) switch
    {
        (HandleKind.Group, VfioRequests.GroupSetContainer) => true,
        (HandleKind.Iommu, IommufdRequests.IoasMapFile) => true,
        (HandleKind.VirtualMachine, IoasidRequests.VmMap) => true,
        (HandleKind.Device, VfioRequests.DeviceBindIommufd or VfioRequests.DeviceIoEventFd or IoasidRequests.DeviceAllow) => true,
        (HandleKind.Device, VfioRequests.DevicePciHotReset) => true,
        (HandleKind.Device, VfioRequests.DeviceSetIrqs) =>
            bytes.Length >= 20 && (BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]) & (uint)VfioIrqSetFlags.DataEventFd) != 0,
        (HandleKind.Device, VfioRequests.DeviceFeature) =>
            bytes.Length >= 8 && (VfioFeature)(BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]) & (uint)VfioFeatureFlags.NumberMask)
                == VfioFeature.LowPowerEntryWithWakeup,
        _ => false,
    };

    // Descriptors of the program become those of its process in our kernel. Where each kind of structure has them:
    private void Replace(
        in Caller caller, ProgramProcess process, HandleKind kind, uint request, Span<byte> bytes, ref Temporary temporary)
    {
        switch (kind, request)
        {
            case (HandleKind.Device, VfioRequests.DeviceSetIrqs):
                ReplaceMany(caller, process, bytes[20..], BinaryPrimitives.ReadUInt32LittleEndian(bytes[16..]), ref temporary);
                break;
            case (HandleKind.Device, VfioRequests.DevicePciHotReset) when bytes.Length >= 12:
                ReplaceMany(caller, process, bytes[12..], BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]), ref temporary);
                break;
            case (HandleKind.Group, _):
                ReplaceAt(caller, process, bytes, 0, ref temporary);
                break;
            case (HandleKind.Iommu or HandleKind.VirtualMachine, _):
                ReplaceAt(caller, process, bytes, 12, ref temporary);
                break;
            case (HandleKind.Device, VfioRequests.DeviceIoEventFd):
                ReplaceAt(caller, process, bytes, 24, ref temporary);
                break;
            default:
                ReplaceAt(caller, process, bytes, 8, ref temporary);
                break;
        }
    }

    private void ReplaceMany(in Caller caller, ProgramProcess process, Span<byte> bytes, uint count, ref Temporary temporary)
    {
        for (int i = 0; i < count && (i + 1) * sizeof(int) <= bytes.Length; i++)
        {
            ReplaceAt(caller, process, bytes, i * sizeof(int), ref temporary);
        }
    }

    private void ReplaceAt(in Caller caller, ProgramProcess process, Span<byte> bytes, int offset, ref Temporary temporary)
    {
        if (bytes.Length < offset + sizeof(int))
        {
            return;
        }

        int descriptor = BinaryPrimitives.ReadInt32LittleEndian(bytes[offset..]);
        if (descriptor >= 0)
        {
            BinaryPrimitives.WriteInt32LittleEndian(bytes[offset..], Find(caller, process, descriptor, ref temporary));
        }
    }

    private int Find(in Caller caller, ProgramProcess process, int descriptor, ref Temporary temporary)
    {
        if (!caller.TryIdentify(descriptor, out FileIdentity identity))
        {
            return NoSuchDescriptor;
        }

        if (caller.Handles.Find(identity) is { } handle)
        {
            int found = process.Find(handle, caller.Handles.Holder);
            return found >= 0 ? found : NoSuchDescriptor;
        }

        // One of the machine's: a counter, memory, or of no use here.
        nint taken = Caller.TakeDescriptor(process, descriptor);
        int made = -1;
        if (taken >= 0 && caller.IsCounter(descriptor))
        {
            made = process.Kernel.AddEvent(new DescriptorEvent(new(taken, ownsHandle: true), _counters));
        }
        else if (taken >= 0)
        {
            made = MemoryFiles.TryMap((int)taken, out ulong address, out ulong size)
                ? process.Kernel.AddMemory(files, address, size)
                : process.Kernel.AddEvent(null);
            _ = SystemCalls.Close((int)taken);
        }

        if (made < 0)
        {
            return NoSuchDescriptor;
        }

        temporary.Add(made);
        return made;
    }

    /// <summary>Descriptors of our kernel that are there for one call.</summary>
    private struct Temporary(KernelProcess kernel)
    {
        private List<int>? _descriptors;

        public void Add(int descriptor) => (_descriptors ??= []).Add(descriptor);

        public readonly void Dispose()
        {
            foreach (int descriptor in _descriptors ?? [])
            {
                _ = kernel.Close(descriptor);
            }
        }
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Core;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// Resets of a slot or a bus, which concern other devices too: who they are, and the proof that the caller has them all.
/// </summary>
internal static class VfioHotReset
{
    /// <summary>VFIO_DEVICE_GET_PCI_HOT_RESET_INFO.</summary>
    /// <param name="kernel">The kernel.</param>
    /// <param name="device">The device.</param>
    /// <param name="owner">What it is bound to, if it was opened by its own node; else null.</param>
    /// <param name="argument">The structure.</param>
    public static Errno GetInfo(IoasisKernel kernel, IVfioDeviceBackend device, IommufdFile? owner, Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, VfioPciHotResetInfo.MinimumSize, out VfioPciHotResetInfo info);
        if (error != Errno.Success)
        {
            return error;
        }

        if (info.Argsz < VfioPciHotResetInfo.MinimumSize)
        {
            return Errno.InvalidArgument;
        }

        if (device.ResetMembers is not { } members)
        {
            return Errno.NoDevice;
        }

        int each = Unsafe.SizeOf<VfioPciDependentDevice>();
        int needed = VfioPciHotResetInfo.MinimumSize + (members.Count * each);
        info.Flags = VfioHotResetFlags.None;
        info.Count = (uint)members.Count;
        if (info.Argsz < (uint)needed)
        {
            error = ArgszArgument.Give(argument, info, VfioPciHotResetInfo.MinimumSize);
            return error == Errno.Success ? Errno.NoSpace : error;
        }

        if (argument.Length < needed)
        {
            return Errno.BadAddress;
        }

        if (owner is not null)
        {
            info.Flags = VfioHotResetFlags.DeviceId | VfioHotResetFlags.DeviceIdOwned;
        }

        for (int i = 0; i < members.Count; i++)
        {
            VfioResetMember member = members[i];
            VfioDeviceNode? node = kernel.FindNode(member.Device);
            uint id = owner is null ? (uint)(node?.Device.Group.Id ?? 0) : Identify(kernel, node, owner);
            if (owner is not null && id == VfioPciDependentDevice.NotOwned)
            {
                info.Flags &= ~VfioHotResetFlags.DeviceIdOwned;
            }

            MemoryMarshal.Write(
                argument[(VfioPciHotResetInfo.MinimumSize + (i * each))..],
                new VfioPciDependentDevice
                {
                    GroupOrDeviceId = id,
                    Segment = member.Segment,
                    Bus = member.Bus,
                    DeviceFunction = member.DeviceFunction,
                });
        }

        return ArgszArgument.Give(argument, info, VfioPciHotResetInfo.MinimumSize);
    }

    /// <summary>VFIO_DEVICE_PCI_HOT_RESET.</summary>
    /// <param name="caller">The process whose descriptors prove which groups it has.</param>
    /// <param name="device">The device.</param>
    /// <param name="owner">What it is bound to, if it was opened by its own node; else null.</param>
    /// <param name="argument">The structure.</param>
    public static Errno Reset(KernelProcess caller, IVfioDeviceBackend device, IommufdFile? owner, Span<byte> argument)
    {
        Errno error = ArgszArgument.Take(argument, VfioPciHotReset.MinimumSize, out VfioPciHotReset reset);
        if (error != Errno.Success)
        {
            return error;
        }

        if (reset.Argsz < VfioPciHotReset.MinimumSize || reset.Flags != 0)
        {
            return Errno.InvalidArgument;
        }

        // By its own node nobody names groups; by a group's somebody must.
        if ((reset.Count != 0) == (owner is not null))
        {
            return Errno.InvalidArgument;
        }

        if (device.ResetMembers is not { } members)
        {
            return Errno.NoDevice;
        }

        if (reset.Count > (uint)members.Count)
        {
            return Errno.InvalidArgument;
        }

        HashSet<IommuGroup> groups = [];
        error = owner is null ? Collect(caller, argument[VfioPciHotReset.MinimumSize..], (int)reset.Count, groups) : Errno.Success;
        if (error != Errno.Success)
        {
            return error;
        }

        List<IVfioDeviceBackend> backends = [];
        foreach (VfioResetMember member in members)
        {
            VfioDeviceNode? node = caller.Kernel.FindNode(member.Device);
            bool isOwned = owner is null
                ? node is not null && groups.Contains(node.Device.Group)
                : Identify(caller.Kernel, node, owner) != VfioPciDependentDevice.NotOwned;
            if (node is null || !isOwned)
            {
                return Errno.InvalidArgument;
            }

            backends.Add(node.Backend);
        }

        foreach (IVfioDeviceBackend backend in backends)
        {
            backend.ResetWithBus();
        }

        return Errno.Success;
    }

    private static uint Identify(IoasisKernel kernel, VfioDeviceNode? node, IommufdFile owner) =>
        node is null ? VfioPciDependentDevice.NotOwned
            : node.TryGetBound(owner, out uint id) ? id
            : kernel.HasGroup(owner, node.Device.Group) ? VfioPciDependentDevice.Owned
            : VfioPciDependentDevice.NotOwned;

    private static Errno Collect(KernelProcess caller, ReadOnlySpan<byte> descriptors, int count, HashSet<IommuGroup> groups)
    {
        if (descriptors.Length < count * sizeof(int))
        {
            return Errno.BadAddress;
        }

        for (int i = 0; i < count; i++)
        {
            using FileUse file = caller.Descriptors.Use(MemoryMarshal.Read<int>(descriptors[(i * sizeof(int))..]));
            if (file.FileOrNull is not VfioGroupFile group)
            {
                return file.FileOrNull is null ? Errno.BadDescriptor : Errno.InvalidArgument;
            }

            _ = groups.Add(group.Group);
        }

        return Errno.Success;
    }
}

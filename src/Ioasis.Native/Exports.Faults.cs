using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Core;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <content>Faults.</content>
internal static unsafe partial class Exports
{
    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_fault_next")]
    private static int NextFault(nint handle, nint fault)
    {
        const string Call = "ioasis_fault_next";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            // Nothing is taken for which there is no room.
            if (SizedStructure.Check<Fault>(fault, "fault", out uint size) is { } wrong)
            {
                return LastError.Set(Call, wrong);
            }

            uint room = Math.Min(size, (uint)sizeof(Fault));
            if (CallerMemory.CountAccessible(fault, room, writable: true) < room)
            {
                return LastError.Set(Call, Failure.BadAddress("fault", fault));
            }

            if (!platform.Machine.TryDequeueFault(out IommuFault taken))
            {
                return 0;
            }

            Fault record = new()
            {
                Reason = ReasonOf(taken.Reason),
                Iova = taken.Iova.Value,
                Requester = taken.DeviceId.RequesterId,
                Segment = taken.DeviceId.Domain,
                Pasid = taken.Pasid.IsPresent ? taken.Pasid.Value : NoPasid,
                Request = ((taken.Access & Access.Write) != 0 ? RequestFlags.Write : RequestFlags.None)
                    | ((taken.Access & Access.Execute) != 0 ? RequestFlags.Execute : RequestFlags.None)
                    | (taken.Privileged ? RequestFlags.Privileged : RequestFlags.None),
                Cause = (uint)taken.Cause,
                Detail = taken.Detail,
            };
            SizedStructure.PutText(new(record.Device, 64), taken.Device?.Name ?? "");
            _ = SizedStructure.Give(fault, "fault", size, ref record);
            return 1;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_fault_describe")]
    private static int DescribeFault(nint handle, nint fault, nint text, nuint length)
    {
        const string Call = "ioasis_fault_describe";
        try
        {
            using CallScope<NativePlatform> scope = new(handle);
            if (scope.Target is not { } platform)
            {
                return NoPlatform(Call, handle);
            }

            if (SizedStructure.Take(fault, "fault", out Fault record) is { } wrong)
            {
                return LastError.Set(Call, wrong);
            }

            return GiveText(Call, Describe(record), text, length);
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    // As snprintf does.
    private static int GiveText(string call, string sentence, nint text, nuint length)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(sentence);
        if (length > 0)
        {
            nuint room = Math.Min(length, (nuint)bytes.Length + 1);
            if (CallerMemory.CountAccessible(text, room, writable: true) < room)
            {
                return LastError.Set(call, Failure.BadAddress("text", text));
            }

            bytes.AsSpan(0, (int)room - 1).CopyTo(new Span<byte>((void*)text, (int)room - 1));
            ((byte*)text)[room - 1] = 0;
        }

        return bytes.Length;
    }

    private static string Describe(in Fault fault)
    {
        string name;
        fixed (byte* device = fault.Device)
        {
            ReadOnlySpan<byte> bytes = new(device, 64);
            int end = bytes.IndexOf((byte)0);
            name = Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]);
        }

        string requester = new DeviceId(((ulong)fault.Segment << 16) | (fault.Requester & 0xffff)).ToString();
        string who = name.Length == 0 || string.Equals(name, requester, StringComparison.Ordinal) ? requester : $"{name} ({requester})";
        string what = (fault.Request & RequestFlags.Write) != 0 ? "write to" : (fault.Request & RequestFlags.Execute) != 0 ? "read for execution from" : "read from";
        string pasid = fault.Pasid == NoPasid ? "without PASID" : $"with PASID {fault.Pasid.ToString(CultureInfo.InvariantCulture)}";
        string privileged = (fault.Request & RequestFlags.Privileged) != 0 ? ", privileged," : "";
        string why = (IoasisFault)fault.Reason switch
        {
            IoasisFault.NotMapped => "nothing is mapped there, or not for this access",
            IoasisFault.Blocked => fault.Pasid == NoPasid ? "the device is attached to nothing" : "the PASID is attached to nothing",
            IoasisFault.NotAllowed => "the device may not make this kind of request",
            IoasisFault.BadTable => "a table of the IOMMU cannot be read, or holds what it must not",
            IoasisFault.Memory => "the memory behind the address cannot be accessed",
            _ => "the IOMMU refused it",
        };
        return string.Create(
            CultureInfo.InvariantCulture, $"{who}: {what} 0x{fault.Iova:x} {pasid}{privileged} was refused: {why} (cause {fault.Cause} of the IOMMU)");
    }

    private static uint ReasonOf(IommuFaultReason reason) => (uint)(reason switch
    {
        IommuFaultReason.NotMapped => IoasisFault.NotMapped,
        IommuFaultReason.Blocked => IoasisFault.Blocked,
        IommuFaultReason.NotAllowed => IoasisFault.NotAllowed,
        IommuFaultReason.BadTable => IoasisFault.BadTable,
        IommuFaultReason.AccessFault => IoasisFault.Memory,
        _ => IoasisFault.Other,
    });

    // IOASIS_FAULT_…
    private enum IoasisFault : uint
    {
        Other,
        NotMapped,
        Blocked,
        NotAllowed,
        BadTable,
        Memory,
    }
}
